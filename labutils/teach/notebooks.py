"""The notebooks as files: finding, reading and writing them, and the one form in which they are stored.

A stored notebook is what a reader on GitHub sees and what ``make test`` compares with, so it holds outputs, but nothing
that differs between two runs or machines for no reason: no time stamps, no widget state, no absolute paths.
"""

import ast
import re
from collections.abc import Sequence
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from nbconvert.preprocessors.coalescestreams import CoalesceStreamsPreprocessor
from nbformat import NotebookNode

from labutils.errors import LabError
from labutils.files import atomic_file

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "notebooks"
WIDGET = "application/vnd.jupyter.widget-view+json"
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
FOLDED = {"source_hidden": True}  # what JupyterLab looks at, under "jupyter" in the metadata of a hide-input cell
MARK = "# NBVAL_CHECK_OUTPUT"
# What an answer cell holds: indentation, what takes the block's place in the student edition
SOLUTION = re.compile(
    r"^([ \t]*)# SOLUTION(?:: (.*\S))?[ \t]*\n(?:(?![ \t]*# SOLUTION\b).*\n)*?[ \t]*# END SOLUTION[ \t]*$", re.M
)


def find(names: Sequence[str] = ()) -> list[Path]:
    """The notebooks of the series in order; or those named: by number (3, 03), by name, or by path.

    Raises:
        LabError: there is no such notebook.
    """
    there = sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))
    if not names and not there:
        raise LabError(f"{FOLDER} holds no notebooks; are you in a copy of the project?")
    found = [] if names else there
    for name in names:
        match = [p for p in there if name in (p.stem, p.name) or (name.isdigit() and int(name) == int(p.name[:2]))]
        if Path(name).is_file() and Path(name).suffix == ".ipynb":
            match = [Path(name)]
        if not match:
            raise LabError(f"there is no notebook {name!r}; there are {', '.join(p.stem for p in there) or 'none'}")
        found += match
    return found


def read(path: Path) -> NotebookNode:
    """A notebook in nbformat 4.

    Raises:
        LabError: the file is no notebook.
    """
    try:
        return nbformat.read(path, as_version=4)
    except (OSError, ValueError, AttributeError, KeyError, RecursionError, nbformat.ValidationError) as error:
        raise LabError(f"{path} cannot be read as a notebook: {str(error).splitlines()[0][:200]}") from error


def write(path: Path, book: NotebookNode) -> int:
    """Write a notebook in one step, so that nobody ever sees half of it; its size in bytes."""
    text = nbformat.writes(book, version=nbformat.NO_CONVERT).rstrip("\n") + "\n"
    with atomic_file(path) as file:
        return file.write(text.encode("utf-8"))


# -------------------------------------------------------------------------------------------------------------- cells


def tags(cell: NotebookNode) -> set[str]:
    """The tags of a cell."""
    return set(cell.metadata.get("tags", ()))


def exercise_of(cell: NotebookNode, kind: str) -> str | None:
    """The exercise "3.1" of the cell ``KIND-3-1``; None for other cells.

    Args:
        kind: "answer", "check", "solution", or several of them: "answer|check".
    """
    part = re.fullmatch(rf"(?:{kind})-(\d+)-(\d+)", str(cell.get("id", "")))
    return f"{part[1]}.{part[2]}" if part else None


def cell_id(kind: str, exercise: str) -> str:
    """The id of an exercise's cell: ("answer", "3.1") -> "answer-3-1"."""
    return f"{kind}-{exercise.replace('.', '-')}"


def parses(source: str) -> str:
    """What keeps a cell from parsing; empty where it parses.  Magics are allowed."""
    try:
        ast.parse(TransformerManager().transform_cell(source))
    except (SyntaxError, ValueError) as error:
        return str(error)
    return ""


def check_call(source: str) -> ast.Call | None:
    """The call in a check cell, which is the mark and ``checks.NAME(…)``; None where it is anything else."""
    mark, _, rest = source.strip().partition("\n")
    try:
        body = ast.parse(rest).body
    except SyntaxError:
        return None
    if mark != MARK or len(body) != 1 or not isinstance(body[0], ast.Expr) or not isinstance(body[0].value, ast.Call):
        return None
    target = body[0].value.func
    named = isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "checks"
    return body[0].value if named else None


def passed_line(exercise: str) -> str:
    """What a check prints when the answer is right."""
    from labutils.checks import EXERCISES

    return f"passed {exercise}: {EXERCISES[exercise].title}\n"


# -------------------------------------------------------------------------------------------------------- normalising


def clear(book: NotebookNode) -> None:
    """Remove all outputs and execution counts."""
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None


def normalise(book: NotebookNode) -> None:
    """Bring an executed notebook into the one form that is stored."""
    book.nbformat, book.nbformat_minor = 4, 5
    book.metadata = nbformat.from_dict(METADATA)
    count = 0
    for cell in book.cells:
        kept = list(dict.fromkeys(cell.metadata.get("tags", ())))
        metadata = {"tags": kept} if kept else {}
        cell.metadata = nbformat.from_dict(metadata | ({"jupyter": FOLDED} if "hide-input" in kept else {}))
        if cell.cell_type != "code":
            continue
        count += bool(cell.source.strip())
        cell.execution_count = count if cell.source.strip() else None
        CoalesceStreamsPreprocessor().preprocess_cell(cell, {}, count)
        cell.outputs = [out for out in cell.outputs if _tidied(out)]
        for out in cell.outputs:
            if out.output_type == "execute_result":
                out.execution_count = cell.execution_count


def _tidied(out: NotebookNode) -> bool:
    """Whether anything is left of an output, of which all is removed that differs from run to run."""
    if out.output_type == "stream":
        out.text = relative(collapse(out.text))
        return bool(out.text)
    if out.output_type == "error":
        return True
    out.pop("transient", None)
    if out.data.pop(WIDGET, None) is not None and not out.data:
        out.data["text/plain"] = "a widget: run this cell to see it"
    for kind, value in out.data.items():
        if isinstance(value, str) and kind.startswith("text/"):
            out.data[kind] = relative(re.sub(r"\bat 0x[0-9a-fA-F]{6,}", "at 0x…", value))
    out.metadata = nbformat.from_dict({k: v for k, v in out.metadata.items() if k in out.data})
    return True


def collapse(text: str) -> str:
    """Text as a terminal leaves it where carriage returns overwrite a line, as progress bars do."""
    lines = []
    for line in text.replace("\r\n", "\n").split("\n"):
        parts = [part for part in line.split("\r") if part.strip()]
        lines.append(parts[-1] if parts else ("" if "\r" in line else line))
    return "\n".join(lines)


def relative(text: str) -> str:
    """The text with the project's folder as ``.`` and the user's as ``~``."""
    for place, short in ((str(ROOT), "."), (str(Path.home()), "~")):
        if len(place) > 1:
            text = re.sub(rf"(?<![\w.~/-]){re.escape(place)}(?![\w.-])", short, text).replace(f"{short}//", f"{short}/")
    return text
