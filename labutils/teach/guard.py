"""What decides in the kernel of a notebook that is graded, beside the code of somebody who may want to deceive it.

Its first cell calls ``arm`` before any foreign code runs.  The function that comes back holds a copy of the checks of
its own, which no later import or assignment reaches, and a secret: only with it can the line be printed that grading
waits for.  It also remembers the functions that checks compute with (torch, numpy, labutils), and refuses to judge
once one of them was replaced.

All this runs in one process with the foreign code.  Who reads these lines can get around them (through the frames on
the stack, the garbage collector, the memory of the process); grading therefore names answers that hold such words.
"""

import builtins
import hashlib
import hmac
import importlib
import io
import math
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

WATCHED = (
    "builtins",
    "math",
    "random",
    "numpy",
    "numpy.linalg",
    "torch",
    "torch.nn.functional",
    "torch.random",
    "torch.autograd",
)
# IPython sets the first itself, and torch wraps manual_seed when its compiler is first imported.
CHANGING = {"_", "input", "display", "exit", "quit", "get_ipython", "manual_seed"}


class Tampered(Exception):
    """A function that the checks rely on is no longer what it was."""

    def _render_traceback_(self) -> list[str]:
        return [f"Tampered: {self}"]  # one line that grading finds in the report


def token(secret: str, number: str) -> str:
    """What the line of a passed exercise ends with."""
    return hmac.new(secret.encode(), number.encode(), hashlib.sha256).hexdigest()[:32]


def arm(secret_file: str, notebook: str, seed: int) -> Callable[..., None]:
    """The function that judges: ``judge("3.1", answer)`` prints passed (with the token) or to do, or raises.

    Args:
        secret_file, notebook: files that are deleted, so that the answers cannot read them.
        seed: of the checks' inputs.
    """
    secret = Path(secret_file).read_text()
    Path(secret_file).unlink()
    Path(notebook).unlink()
    exercises, not_done = _own_checks()
    say, known = print, _functions()
    judged = importlib.import_module("labutils.checks.core").JUDGED  # of the checks that answers see

    def judge(number: str, *answers: Any) -> None:
        _compare(known)
        exercise = exercises[number]
        try:
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # an answer may print
                judged.append(number)
                exercise.judge(*answers, seed=seed)
        except not_done:
            say(f"to do {number}: {exercise.title}")
            return
        finally:
            judged.clear()
        _compare(known)  # an answer may replace something when it is called
        say(f"passed {number}: {exercise.title} · {token(secret, number)}")

    return judge


def _own_checks() -> tuple[dict[str, Any], type[BaseException]]:
    """A copy of labutils.checks that ``sys.modules`` does not know."""
    visible = importlib.import_module("labutils.checks")
    modules = _take_checks()
    own = importlib.import_module("labutils.checks")
    _take_checks()
    sys.modules.update(modules)
    setattr(sys.modules["labutils"], "checks", visible)  # noqa: B010
    return dict(own.EXERCISES), own.NotDone


def _take_checks() -> dict[str, Any]:
    """Remove labutils.checks from ``sys.modules``; what was removed."""
    return {name: sys.modules.pop(name) for name in list(sys.modules) if f"{name}.".startswith("labutils.checks.")}


def _places() -> Iterator[tuple[str, Any]]:
    """Everything that is watched: modules, and the classes that hold the functions checks compute with."""
    import torch

    ours = [n for n in sys.modules if n.startswith("labutils.") and not n.startswith("labutils.checks")]
    for name in (*WATCHED, *ours):
        if name in sys.modules:
            yield name, sys.modules[name]
    for name in ours:
        for key, value in list(vars(sys.modules[name]).items()):
            if isinstance(value, type) and value.__module__ == name:
                yield f"{name}.{key}", value
    yield "torch.Tensor", torch.Tensor
    yield "torch.Generator", torch.Generator


def _functions() -> list[tuple[str, Any, str, Any, Any]]:
    """(place, its object, name, value, code) of every function that is watched; and IPython's hooks before a cell."""
    found = [
        (place, owner, name, value, getattr(value, "__code__", None))
        for place, owner in _places()
        for name, value in _members(owner).items()
        if (callable(value) or isinstance(value, (property, staticmethod, classmethod))) and name not in CHANGING
    ]
    for hooks in _hooks():
        found.append(("IPython", hooks, "", list(hooks), None))
    return found


def _members(owner: Any) -> dict[str, Any]:
    """What a module, or a class with those it is made from, holds."""
    if not isinstance(owner, type):
        return dict(vars(owner))
    return {name: value for part in reversed(owner.__mro__) for name, value in vars(part).items()}


def _hooks() -> list[list[Any]]:
    get = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = get() if get else None
    if shell is None:
        return []
    manager, events = shell.input_transformer_manager, shell.events.callbacks
    lists = [manager.cleanup_transforms, manager.line_transforms, manager.token_transformers, shell.ast_transformers]
    return [*lists, events["pre_execute"], events["pre_run_cell"]]


def _compare(known: list[tuple[str, Any, str, Any, Any]]) -> None:
    """Raises ``Tampered`` where a function is not the one it was."""
    members: dict[int, dict[str, Any]] = {}
    for place, owner, name, value, code in known:
        if place == "IPython":
            if owner != value:
                raise Tampered("a hook of IPython")
            continue
        if id(owner) not in members:
            members[id(owner)] = _members(owner)
        now = members[id(owner)].get(name)
        if now is not value or getattr(now, "__code__", None) is not code:
            raise Tampered(f"{place}.{name}")


assert builtins and math and random  # imported here so that they are there to be watched
