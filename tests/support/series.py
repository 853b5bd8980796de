"""A tiny series of notebooks with exercises of its own, for the tests of the tools that work on notebooks.

The checks of its exercises live in a copy of the project's root that consists of links to the real labutils, so that
a kernel that is started with that root on its path knows them too.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from labutils import checks
from labutils.teach import notebooks
from labutils.teach.student import HANDED_OUT

ROOT = Path(__file__).resolve().parents[2]
CHECKS = '''"""Exercises of the tiny series."""

import torch

from labutils.checks.core import agree, compare, exercise


def _double(x):
    return 2 * x


def _half(x):
    return x / 2


@exercise("90.1", "double", _double, {"squared instead of doubled": lambda x: x**2})
def double_90(answer, g):
    agree("y", answer, _double, torch.randn(4, generator=g))


@exercise("90.2", "half", _half)
def half_90(answer, g):
    agree("y", answer, _half, torch.randn(4, generator=g))


@exercise("90.3", "a value", 42)
def value_90(answer, g):
    compare("value", answer, 42)
'''
SETUP = "from labutils import checks, lab\n\nlab.begin()"
ANSWERS = {
    "90.1": 'def double(x):\n    """(N,) -> (N,)"""\n    # SOLUTION\n    return 2 * x\n    # END SOLUTION',
    "90.2": 'def half(x):\n    """(N,) -> (N,)"""\n    # SOLUTION\n    return x / 2\n    # END SOLUTION',
    "90.3": "# SOLUTION: value = None\nvalue = 42\n# END SOLUTION",
}
STUBS = {
    "90.1": 'def double(x):\n    """(N,) -> (N,)"""\n    raise NotImplementedError("exercise 90.1")',
    "90.2": 'def half(x):\n    """(N,) -> (N,)"""\n    raise NotImplementedError("exercise 90.2")',
    "90.3": "value = None",
}
CALLS = {"90.1": "checks.double_90(double)", "90.2": "checks.half_90(half)", "90.3": "checks.value_90(value)"}
TITLES = {"90.1": "double", "90.2": "half", "90.3": "a value"}


def markdown(key: str, text: str, *tags: str) -> NotebookNode:
    return nbformat.v4.new_markdown_cell(text, id=key, metadata={"tags": list(tags)} if tags else {})


def code(key: str, text: str, *tags: str) -> NotebookNode:
    return nbformat.v4.new_code_cell(text, id=key, metadata={"tags": list(tags)} if tags else {})


def exercise(number: str) -> list[NotebookNode]:
    """The cells of one exercise, as the lab's notebooks have them."""
    dashed = number.replace(".", "-")
    text = (
        f"### Exercise {number} · {TITLES[number]}\n\nDifficulty ●○○○○ · Importance ●●○○○ · about 2 minutes\n\n"
        "<details><summary>Hint</summary>\n\nRead $2x$ aloud.\n\n</details>"
    )
    return [
        markdown(f"exercise-{dashed}-text", text),
        code(f"answer-{dashed}", ANSWERS[number], "exercise"),
        code(f"check-{dashed}", f"# NBVAL_CHECK_OUTPUT\n{CALLS[number]}", "check"),
        markdown(f"solution-{dashed}", "It is as simple as that.", "solution"),
    ]


def book(*middle: NotebookNode) -> NotebookNode:
    """The tiny notebook, with more cells before its end."""
    cells = [
        markdown("title", "# 90 · Tiny\n\nA notebook for tests."),
        code("setup", SETUP),
        *(cell for number in ANSWERS for cell in exercise(number)),
        *middle,
        code("finish", "lab.finish()"),
    ]
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=nbformat.from_dict(metadata))


@contextmanager
def known(root: Path) -> Iterator[Path]:
    """A root folder whose labutils knows the tiny exercises, in kernels and in this process; ends with the block."""
    source, target = ROOT / "labutils", root / "labutils"
    (target / "checks").mkdir(parents=True)
    for path in [*source.iterdir(), *(source / "checks" / f"{name}.py" for name in ("core", "own", "progress"))]:
        if path.name not in ("checks", "__pycache__"):
            (target / path.relative_to(source)).symlink_to(path)
    # The exercises of the real series would only take time to import; they are found beside __init__.py, not its link.
    (target / "checks" / "__init__.py").write_text((source / "checks" / "__init__.py").read_text())
    (target / "checks" / "nb90.py").write_text(CHECKS)
    scope: dict = {}
    exec(CHECKS, scope)
    names = [name for name in scope if name.endswith("_90")]
    for name in names:
        setattr(checks, name, scope[name])
    try:
        yield root
    finally:
        for name in names:
            delattr(checks, name)
        for number in ANSWERS:
            checks.EXERCISES.pop(number, None)


@contextmanager
def project(root: Path) -> Iterator[Path]:
    """Such a root with the tiny series as its only notebook, in the place of the project; ends with the block."""
    with known(root), pytest.MonkeyPatch.context() as patch:
        (root / "notebooks" / "images").mkdir(parents=True)
        (root / "notebooks" / "images" / "a.svg").write_text("<svg/>")
        nbformat.write(book(), root / "notebooks" / "90_tiny.ipynb")
        for name in HANDED_OUT:
            if (ROOT / name).is_file():
                (root / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(ROOT / name, root / name)
        patch.setattr(notebooks, "ROOT", root)
        patch.setattr(notebooks, "FOLDER", root / "notebooks")
        yield root


@pytest.fixture(scope="module", name="here")
def project_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Such a project, for the tests of a file."""
    with project(tmp_path_factory.mktemp("root")) as root:
        yield root
