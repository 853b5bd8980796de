"""A tiny series of notebooks with exercises of its own, for the tests of the tools that work on notebooks.

The checks of its exercises live in a copy of the project's root that consists of links to the real labutils, so that
a kernel that is started with that root on its path knows them too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from labutils import checks
from labutils.checks.core import EXERCISES

ROOT = Path(__file__).resolve().parents[2]
CHECKS = '''"""Exercises of the tiny series."""

from labutils.checks.core import call, compare, exercise


@exercise("90.1", "double")
def double_90(answer, g):
    import torch

    x = torch.randn(4, generator=g)
    compare("y", call(answer, x), 2 * x, {"squared instead of doubled": x**2})


@exercise("90.2", "half")
def half_90(answer, g):
    import torch

    x = torch.randn(4, generator=g)
    compare("y", call(answer, x), x / 2)


@exercise("90.3", "a value")
def value_90(answer, g):
    compare("value", answer, 42)
'''
SETUP = """from labutils import lab

from labutils import checks

lab.begin()"""
ANSWERS = {
    "90.1": 'def double(x):\n    """(N,) -> (N,)"""\n    # SOLUTION\n    return 2 * x\n    # END SOLUTION',
    "90.2": 'def half(x):\n    """(N,) -> (N,)"""\n    # SOLUTION\n    return x / 2\n    # END SOLUTION',
    "90.3": "# SOLUTION: value = None\nvalue = 42\n# END SOLUTION",
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
    found = nbformat.v4.new_notebook(cells=cells)
    found.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    return found


@contextmanager
def known(root: Path) -> Iterator[Path]:
    """A root folder whose labutils knows the tiny exercises, in kernels and in this process; ends with the block."""
    target = root / "labutils"
    (target / "checks").mkdir(parents=True)
    for path in (ROOT / "labutils").iterdir():
        if path.name not in ("checks", "__pycache__"):
            (target / path.name).symlink_to(path)
    for path in (ROOT / "labutils" / "checks").glob("*.py"):
        if not path.name.startswith("nb"):  # those of the real series would only take time to import
            (target / "checks" / path.name).symlink_to(path)
    (target / "checks" / "__init__.py").unlink()
    (target / "checks" / "__init__.py").write_text((ROOT / "labutils" / "checks" / "__init__.py").read_text())
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
            EXERCISES.pop(number, None)
