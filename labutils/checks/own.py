"""The learner's own module, ``notebooks/my_cvae.py``: every answer that passes its check is kept in it.

A check that passes calls ``keep``: the answer's function or class is written to the module, with the imports and the
helpers it uses, in the order of the exercises.  The module is plain Python, to be read, changed and imported:

    my = lab.mine()
    my.reparameterize(mu, logvar, eps)  # the learner's; where 3.1 has not passed, the reference

Inside an answer ``my.NAME`` means the same; in the module it becomes NAME.
"""

import ast
import builtins
import hashlib
import inspect
import linecache
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from labutils.checks.core import EXERCISES, JUDGED, ON_PASS, Exercise
from labutils.checks.progress import Names
from labutils.errors import LabError
from labutils.files import atomic_file
from labutils.places import MODULE, locked, module

PARTS = (  # of the model that the exercises grow into
    "images_to_tensors psnr_per_frame random_starts ClipDataset Encoder PosteriorPredictor DecoderFusion Generator "
    "CVAE reparameterize kl_divergence kl_weight annealed_beta forcing_ratio training_loss training_rollout clip_loss "
    "train_step rollout predict_video tester_average submission_row submission_table"
).split()
HEAD = '"""My own CVAE: each answer that passed its check, kept by the check and replaced when it passes again."""'
SECTION = re.compile(r"^# -+ exercise (\d+\.\d+)\n", re.M)
REFERENCE = "from labutils.checks import reference"
RULE = "# " + "-" * 88 + " exercise "
MARKS = re.compile(r"^[ \t]*# (?:SOLUTION|END SOLUTION)\b.*\n", re.M)
MY = re.compile(r"(?<![\w.])my\.(?=[A-Za-z_])")  # what stands before a name in an answer


class CannotKeep(Exception):
    """An answer that is right but cannot be kept; the message says why."""


# ------------------------------------------------------------------------------------------------------- keeping


def keep(exercise: Exercise, answer: Any) -> None:
    """Keep an answer that passed, under the name of its check; nothing is kept outside a notebook.

    What cannot be kept is warned of, and what was kept before stays: passing a check never fails because of this.
    """
    if not _in_notebook() or not (isinstance(answer, (FunctionType, type)) and answer.__module__ == "__main__"):
        return
    try:
        imports, section = _section(exercise.verify.__name__, answer)
        place = module()
        with locked(place):
            known, sections = _read(place)
            _write(place, [*known, *imports], {**sections, exercise.number: section})
    except (CannotKeep, OSError, LabError) as error:
        print(f"{exercise.number} passed, but it was not kept in {MODULE}: {error}", file=sys.stderr)


def _in_notebook() -> bool:
    """Whether this is a kernel."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None


def _section(name: str, answer: Any) -> tuple[list[str], str]:
    """What an answer uses of its notebook: import lines; helpers and constants, then the answer itself."""
    main = vars(sys.modules["__main__"])
    imports: list[str] = []
    helpers: dict[str, str] = {}

    def take(source: str, known: tuple[str, ...]) -> None:
        """All that a definition uses, and what that uses."""
        for key in _globals(source):
            # another exercise's answer stands in its own section
            if key not in main or key == "my" or key in known or key in helpers or key in _names():
                continue
            value = main[key]
            if isinstance(value, (FunctionType, type)) and value.__module__ == "__main__":
                text = _source(value)
                take(text, (*known, key))
                helpers[key] = text
            elif (statement := _statement(key, value)).startswith(("import ", "from ")):
                imports.append(statement)
            else:
                helpers[key] = statement

    source = _source(answer)
    take(source, (answer.__name__,))
    alias = [f"{name} = {answer.__name__}"] if answer.__name__ != name else []
    return imports, "\n\n\n".join([*helpers.values(), source, *alias])


def _source(value: Any) -> str:
    """The text of a function or class of the notebook, without the marks of a solution.

    ``inspect`` does not find the source of a class in a notebook; its methods know in which cell they stand.
    """
    functions = [value] if isinstance(value, FunctionType) else [
        f for f in vars(value).values() if isinstance(f, FunctionType) and f.__qualname__.startswith(value.__name__)
    ]  # fmt: skip
    for function in functions:
        text = "".join(linecache.getlines(inspect.unwrap(function).__code__.co_filename))
        try:
            body = ast.parse(text).body
        except SyntaxError:
            continue
        for node in reversed(body):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == value.__name__:
                first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                lines = text.splitlines(keepends=True)[first - 1 : node.end_lineno]
                return MY.sub("", MARKS.sub("", "".join(lines))).rstrip()
    raise CannotKeep(f"the source of {value.__name__} is not known; define it at the beginning of a line of a cell")


def _globals(source: str) -> list[str]:
    """The names of the notebook that a definition reads."""
    names = Names(ast.parse(source))
    return sorted(name for name in names.read | names.later if not hasattr(builtins, name))


def _statement(key: str, value: Any) -> str:
    """The import or the assignment that gives a name its value again."""
    if isinstance(value, ModuleType):
        whole = f"import {value.__name__}"
        return whole if value.__name__ == key else f"{whole} as {key}"
    name = getattr(value, "__name__", "")
    module = getattr(value, "__module__", None) or ""
    packages = module.split(".")
    for k in range(1, len(packages) + 1):  # the shortest that has it
        home = sys.modules.get(".".join(packages[:k]))
        if name and home is not None and getattr(home, name, None) is value and home.__name__ != "__main__":
            return f"from {home.__name__} import {name}" + ("" if name == key else f" as {key}")
    try:
        if ast.literal_eval(repr(value)) == value:
            return f"{key} = {value!r}"
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        pass
    what = f"{key}, a {type(value).__name__} of this notebook"
    raise CannotKeep(f"it uses {what}; hand it over as an argument, or compute it inside")


ON_PASS.append(keep)


# ---------------------------------------------------------------------------------------------- the module's text


def _names() -> dict[str, str]:
    """Name in the module -> exercise, of all exercises whose answer is a function or a class."""
    return {e.verify.__name__: number for number, e in EXERCISES.items() if callable(e.reference)}


def _read(place: Path) -> tuple[list[str], dict[str, str]]:
    """The import lines and the sections of the module as it is, with what the learner changed in them.

    Raises:
        LabError: it is no text, or its head is no Python.
    """
    if not place.is_file():
        return [], {}
    try:
        head, *parts = SECTION.split(place.read_text("utf-8"))
        imports = [ast.unparse(node) for node in ast.parse(head).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    except (UnicodeDecodeError, SyntaxError, ValueError) as error:
        raise LabError(f"{place} cannot be read ({error}); mend it or move it away") from error
    sections = {number: section.strip() for number, section in zip(parts[::2], parts[1::2], strict=True)}
    return [line for line in imports if line != REFERENCE], sections


def _write(place: Path, imports: Sequence[str], sections: dict[str, str]) -> None:
    """Write the imports, the references that stand in for what is lacking, and the sections by their numbers.

    Raises:
        CannotKeep: a name has two meanings.
    """
    meaning: dict[str, tuple[str, str]] = {}

    def define(node: ast.stmt, where: str) -> None:
        for name in _bound(node):
            other, text = meaning.setdefault(name, (where, ast.unparse(node)))
            if text != ast.unparse(node):
                raise CannotKeep(f"{name} means another thing in {where} than in {other}; rename one of them")

    order = sorted(sections, key=lambda number: [int(part) for part in number.split(".")])
    used: set[str] = set()
    for number in order:
        tree = ast.parse(sections[number])
        used |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        for node in tree.body:
            define(node, f"exercise {number}")
    lines = []
    for line in sorted(set(imports), key=lambda line: (line.startswith("from "), line.lower())):
        node = ast.parse(line).body[0]
        if used & set(_bound(node)):
            define(node, "another exercise's import")
            lines.append(line)
    lacking = [(name, number) for name, number in _names().items() if name in used and number not in sections]
    stand_in = [f'{name} = reference("{name}")  # until exercise {number} has passed' for name, number in lacking]
    head = [HEAD, "\n".join(lines), "\n".join([REFERENCE, "", *stand_in]) if lacking else ""]
    body = [f"{RULE}{number}\n{sections[number]}" for number in order]
    text = "\n\n".join(part for part in head if part) + "\n\n\n" + "\n\n\n".join(body) + "\n"
    with atomic_file(place) as file:
        file.write(text.encode())


def _bound(node: ast.stmt) -> list[str]:
    """The names that a statement of a module binds."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    return [n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]


# --------------------------------------------------------------------------------------------------------- using it


def reference(name: str) -> Any:
    """The lab's own solution of the exercise whose answer has this name.

    Raises:
        AttributeError: no exercise has it.
        LabError: it is asked for by an answer of this very exercise.
    """
    number = _names().get(name)
    if number is None:
        raise AttributeError(f"there is no part {name!r}; there are {', '.join(sorted(_names()))}")
    if number in JUDGED:
        raise LabError(f"{name} is what exercise {number} asks for; write it yourself")
    return EXERCISES[number].reference


class Mine:
    """The parts of the model: ``mine.NAME`` is the learner's where it has passed, else the reference.

    The module is read again whenever it has changed, so a part that passes is used from then on.
    """

    def __init__(self, place: Path | None = None):
        self._place, self._seen, self._module = place or module(), "", ModuleType("my_cvae")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        own = self._own()
        return getattr(own, name) if hasattr(own, name) else reference(name)

    def _own(self) -> ModuleType:
        """The learner's module, or an empty one.

        Raises:
            LabError: it cannot be imported.
        """
        text = self._place.read_bytes() if self._place.is_file() else b""
        seen = hashlib.sha256(text).hexdigest()
        if seen != self._seen:
            module = ModuleType("my_cvae")
            module.__file__ = str(self._place)
            linecache.checkcache(str(self._place))
            try:
                exec(compile(text, str(self._place), "exec"), module.__dict__)
            except Exception as error:
                what = f"{type(error).__name__}: {error}"
                raise LabError(f"{self._place} cannot be imported ({what}); mend it, or delete it and "
                               "run the cells of your answers and checks again") from error  # fmt: skip
            self._seen, self._module = seen, module
        return self._module

    def parts(self) -> tuple[list[str], list[str]]:
        """The names of the model's parts that are the learner's, and of those for which the reference stands in."""
        own = set(_read(self._place)[1])
        self._own()
        parts = {name: _names()[name] for name in PARTS if name in _names()}
        return [n for n, number in parts.items() if number in own], [n for n, k in parts.items() if k not in own]

    def lines(self) -> int:
        """Lines of code in the module, without blank lines and comments."""
        text = self._place.read_text("utf-8") if self._place.is_file() else ""
        return sum(bool(line.strip()) and not line.lstrip().startswith("#") for line in text.splitlines())

    def __repr__(self) -> str:
        own, others = self.parts()
        if not own:
            kept = len(_read(self._place)[1])
            also = f" (of other answers it holds {kept})" if kept else ""
            return f"{MODULE}: no part of the model has passed yet{also}; the reference stands in for all {len(others)}"
        text = f"{MODULE}: {len(own)} of {len(own) + len(others)} parts of the model are yours, {self.lines()} lines"
        missing = [f"{_names()[name]} {name}" for name in others]
        return text + (f"; the reference stands in for {', '.join(missing)}" if missing else "")
