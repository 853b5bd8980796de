"""What the exercises must do: ``checks.reparameterize(my_function)``; one file for each notebook that has exercises."""

from importlib import import_module
from pathlib import Path
from typing import NoReturn

from labutils.checks.core import (
    EXERCISES,
    CheckFailed,
    Exercise,
    NotDone,
    agree,
    call,
    compare,
    exercise,
    fail,
    require,
    same,
    show,
    unpack,
)  # fmt: skip
from labutils.checks.own import Mine, reference

__all__ = [
    "EXERCISES", "CheckFailed", "Exercise", "Mine", "NotDone", "agree", "call", "compare", "exercise", "fail",
    "reference", "require", "same", "show", "unpack",
]  # fmt: skip

for _file in sorted(Path(__file__).parent.glob("nb*.py")):
    for _name, _value in vars(import_module(f"{__name__}.{_file.stem}")).items():
        if isinstance(_value, Exercise):
            if _name in globals():
                raise ImportError(f"two checks are called {_name}")
            globals()[_name] = _value
            __all__.append(_name)


def __getattr__(name: str) -> NoReturn:
    known = sorted(key for key, value in globals().items() if isinstance(value, Exercise))
    raise AttributeError(f"there is no check {name!r}; there are {', '.join(known)}")
