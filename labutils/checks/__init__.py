"""What the exercises must do: ``checks.reparameterize(my_function)``; one file for each notebook that has exercises."""

from importlib import import_module
from pathlib import Path
from typing import Any

from labutils.checks.core import EXERCISES, CheckFailed, Exercise

__all__ = ["EXERCISES", "CheckFailed", "Exercise"]

for _file in sorted(Path(__file__).parent.glob("nb*.py")):
    _module = import_module(f"{__name__}.{_file.stem}")
    for _name, _value in vars(_module).items():
        if isinstance(_value, Exercise):
            if _name in globals():
                raise ImportError(f"two checks are called {_name}")
            globals()[_name] = _value
            __all__.append(_name)


def __getattr__(name: str) -> Any:
    raise AttributeError(f"there is no check {name!r}; there are {', '.join(sorted(set(__all__) - {'EXERCISES'}))}")
