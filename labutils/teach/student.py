"""The student edition: the folder to hand out, made from the one source of the notebooks."""

import copy
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from nbformat import NotebookNode

from labutils.errors import LabError
from labutils.teach import execution, notebooks
from labutils.teach.notebooks import SOLUTION, exercise_of, tags

HANDED_OUT = ("README.md", "LICENSE", "Makefile", "pyproject.toml", "requirements.lock", "environment.yml",
              ".gitignore", "data/README.md", "labutils", "notebooks")  # fmt: skip
WITHHELD = ("teach", "bench")  # packages of labutils that stay with the instructor
TARGETS = (
    "help",
    "setup",
    "run",
    "lab",
    "lock",
    "clean",
)  # of the Makefile: those that need neither these nor the tests
STAMP = ".student-edition"


def without_solution(source: str, number: str) -> str:
    """A cell's source with each block ``# SOLUTION`` … ``# END SOLUTION`` replaced.

    By the text after ``# SOLUTION:`` where there is one, else by ``raise NotImplementedError("exercise 3.1")``; it is
    indented like the marker.

    Raises:
        LabError: a block is not closed, or not opened.
    """

    def to_do(block: re.Match[str]) -> str:
        return block[1] + (block[2] or f'raise NotImplementedError("exercise {number}")')

    source = SOLUTION.sub(to_do, source)
    if left := re.search(r"^\s*(# (?:END )?SOLUTION\b.*)", source, re.M):
        raise LabError(f"exercise {number}: {left[1]!r} stands alone; a block is # SOLUTION … # END SOLUTION")
    return source


def edition(book: NotebookNode, name: str = "notebook") -> NotebookNode:
    """The student edition of a notebook: no solutions, no outputs.

    Raises:
        LabError: the solutions are not marked as they must be, or a cell does not parse without them.
    """
    book = copy.deepcopy(book)
    book.cells = [cell for cell in book.cells if "solution" not in tags(cell)]
    for cell in book.cells:
        if cell.cell_type == "code" and "SOLUTION" in cell.source:
            cell.source = without_solution(cell.source, exercise_of(cell, "answer") or cell.get("id", "?"))
            if wrong := notebooks.parses(cell.source):
                raise LabError(f"{name}, cell {cell.get('id')}: does not parse in the student edition: {wrong}")
    notebooks.clear(book)
    return book


def write_student(out: Path) -> list[Path]:
    """Write the folder to hand out: the notebooks without solutions, labutils, and all that ``make setup`` needs.

    The tests stay behind, because they hold right and wrong answers, and so do the instructor's tools.

    Args:
        out: a folder that does not exist, is empty, or holds an earlier student edition, which is replaced.

    Raises:
        LabError: ``out`` is something else, or the notebooks hold no solutions to remove.
    """
    if out.exists() and not (out.is_dir() and ((out / STAMP).is_file() or not any(out.iterdir()))):
        raise LabError(f"{out} is there and no student edition; choose another folder or remove it")
    books = {path.name: notebooks.read(path) for path in notebooks.find()}
    if not any(SOLUTION.search(cell.source) for book in books.values() for cell in book.cells):
        raise LabError(f"the notebooks in {notebooks.FOLDER} hold no solutions: this is a student edition already")
    editions = {out / "notebooks" / name: edition(book, name) for name, book in books.items()}
    if out.exists():
        shutil.rmtree(out)
    skip = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "*.ipynb", "*.part")
    for part in HANDED_OUT:
        source, target = notebooks.ROOT / part, out / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=skip)
        elif source.is_file():
            shutil.copyfile(source, target)
    for package in WITHHELD:
        shutil.rmtree(out / "labutils" / package)
    makefile = out / "Makefile"
    makefile.write_text(with_targets(makefile.read_text(encoding="utf-8"), TARGETS), encoding="utf-8")
    (out / STAMP).write_text("Made by `make student` from the lab's notebooks; made anew, this folder is replaced.\n")
    for path, book in editions.items():
        notebooks.write(path, book)
    readme = out / "README.md"
    readme.write_text(readme_for_students(readme.read_text(encoding="utf-8"), out), encoding="utf-8")
    return list(editions)


def with_targets(makefile: str, targets: Sequence[str]) -> str:
    """The text of a Makefile with no other named rules than these, each of which ends with an empty line."""
    names = "|".join(targets)
    makefile = re.sub(rf"^(?!(?:{names}):)[a-z]+:.*\n(?:.+\n)*\n", "", makefile, flags=re.M)
    return re.sub(r"^\.PHONY:.*", f".PHONY: {' '.join(targets)}", makefile, flags=re.M)


def readme_for_students(readme: str, folder: Path) -> str:
    """The text of a README for students, in which a link to a file that ``folder`` lacks is only its text.

    What is only for instructors goes: text between <!-- instructor --> and <!-- /instructor -->, the table's row of the
    withheld packages, and ``make test``.
    """
    readme = re.sub(r"<!-- instructor -->.*?<!-- /instructor -->", "", readme, flags=re.S)
    kept = (line for line in readme.split("\n") if not re.match(r"make test\b|\| \[teach/\]", line))

    def link(match: re.Match[str]) -> str:
        return match[0] if "://" in match[2] or (folder / match[2]).exists() else match[1]

    return re.sub(r"(?<!!)\[([^\]]+)\]\(([^)#\s]+)\)", link, "\n".join(kept))


def try_student(paths: Sequence[Path]) -> None:
    """Run student notebooks: nothing may fail, and every check must say that it is to do.

    Raises:
        LabError: with everything that was wrong.
    """
    wrong = []
    for path in paths:
        try:
            book, seconds = execution.execute(path)
        except LabError as error:
            wrong.append(str(error))
            continue
        cells = [cell for cell in book.cells if "check" in tags(cell)]
        for cell in cells:
            text = "".join(out.get("text", "") for out in cell.outputs)
            if not text.startswith(f"to do {exercise_of(cell, 'check')}: ") or text.count("\n") != 1:
                wrong.append(f"{path.name}, cell {cell.id}: says {text.strip()[:80]!r}, not that it is to do")
        print(f"{path.stem:28} {seconds:6.1f} s  {len(cells)} exercises to do", flush=True)
    if wrong:
        raise LabError("\n".join(["the student edition does not run as it must:", *wrong]))
