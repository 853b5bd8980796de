"""Where things lie: the folder that holds data sets, models and the learner's own module."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MODULE = Path("notebooks", "my_cvae.py")  # the learner's own, below home()


def home() -> Path:
    """The folder that ``data`` and ``outputs`` lie in: LAB_HOME, else the project's, else the present one."""
    if os.environ.get("LAB_HOME"):
        return Path(os.environ["LAB_HOME"])
    here = Path.cwd()
    return next((p for p in (here, *here.parents) if (p / "labutils").is_dir() and (p / "notebooks").is_dir()), here)


def module() -> Path:
    """The learner's own module: LAB_MODULE, else ``notebooks/my_cvae.py`` of ``home()``."""
    return Path(os.environ.get("LAB_MODULE") or home() / MODULE)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes from making the same file or folder at the same time: they wait."""
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        yield
