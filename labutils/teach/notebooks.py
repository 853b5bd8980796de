"""The stored notebooks: run them in a fresh kernel, bring the result into one form, and check that it is complete.

A stored notebook is what a reader on GitHub sees and what ``make test`` compares with, so it holds outputs, but nothing
that differs between two runs or machines for no reason: no time stamps, no widget state, no absolute paths.
"""

import ast
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from labutils.errors import LabError

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "notebooks"
LIMIT = 2_000_000  # bytes of a stored notebook
WIDGET = "application/vnd.jupyter.widget-view+json"
IMAGES = ("image/png", "image/jpeg", "image/svg+xml", "image/gif")
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
TAGS = {"exercise", "check", "solution", "hide-input"}
FOLDED = {"source_hidden": True}  # what JupyterLab looks at, under "jupyter" in the metadata of a hide-input cell
MARK = "# NBVAL_CHECK_OUTPUT"
# A place on somebody's machine
PLACE = re.compile(r"(?<![\w.~/}-])/(?:home|root|work|Users|mnt|tmp|var|private)/\w[^\s\"'<>]*")


# ----------------------------------------------------------------------------------------------------- which, reading


def find(names: Sequence[str] = (), folder: Path | None = None) -> list[Path]:
    """The notebooks of the series in order; or those named: by number (3, 03), by name, or by path.

    Raises:
        LabError: there is no such notebook.
    """
    folder = FOLDER if folder is None else folder
    there = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not names:
        if not there:
            raise LabError(f"{folder} holds no notebooks; are you in a copy of the project?")
        return there
    found = []
    for name in names:
        stem = Path(name).name.removesuffix(".ipynb")
        number = f"{int(stem):02d}_" if stem.isdigit() else None
        match = [p for p in there if (p.name.startswith(number) if number else p.stem == stem)]
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
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(draft, path.stat().st_mode & 0o777 if path.exists() else 0o644)
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
    return len(text.encode("utf-8"))


def tags(cell: NotebookNode) -> set[str]:
    """The tags of a cell."""
    return set(cell.metadata.get("tags", ()))


# ------------------------------------------------------------------------------------------------------------ running


class CellFailed(LabError):
    """A cell ended in an error or wrote to stderr; the message names notebook and cell."""


@dataclass
class Executed:
    """What a run left: the notebook with its outputs, its seconds, and the widgets' state by model id."""

    book: NotebookNode
    seconds: float
    widgets: dict[str, dict[str, Any]] = field(default_factory=dict)


def kernel_environment(scratch: Path) -> dict[str, str]:
    """The environment of a kernel that sees this labutils and none of the user's IPython settings."""
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}  # inline, as in a lab
    path = [str(ROOT), *filter(None, [environment.get("PYTHONPATH")])]
    return {
        **environment,
        "PYTHONPATH": os.pathsep.join(path),
        "IPYTHONDIR": str(scratch / "ipython"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "PYTHONUNBUFFERED": "1",
    }


def execute(
    book: NotebookNode, name: str, folder: Path, timeout: float = 1800, strict: bool = True, widgets: bool = False
) -> Executed:
    """Run all cells of a copy of ``book`` in a fresh kernel.

    Args:
        name: for messages.
        folder: the kernel's working folder.
        timeout: seconds a single cell may take.
        strict: an error or a word on stderr ends the run; else both become outputs like any other.
        widgets: keep the widgets' state.

    Raises:
        CellFailed: with ``strict``, at the first cell that fails.
        LabError: the kernel died or does not start, or a cell takes too long.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    book = nbformat.from_dict(_plain(book))
    clear(book)
    place = {"cell": "before the first cell"}

    def started(cell: NotebookNode, cell_index: int) -> None:
        place["cell"] = f"cell {cell.get('id', cell_index)}"

    def executed(cell: NotebookNode, cell_index: int, execute_reply: Any) -> None:
        text = "".join(o.text for o in cell.get("outputs", ()) if o.output_type == "stream" and o.name == "stderr")
        if strict and text.strip():
            raise CellFailed(f"{name}, {place['cell']}: wrote to stderr:\n{text.strip()[-3000:]}")

    with tempfile.TemporaryDirectory(prefix="labutils-") as scratch:
        client = NotebookClient(
            book, timeout=timeout, kernel_name="python3", record_timing=False, store_widget_state=widgets,
            allow_errors=not strict, resources={"metadata": {"path": str(folder)}},
            on_cell_start=started, on_cell_executed=executed,
        )  # fmt: skip
        start = time.perf_counter()
        try:
            # what a kernel says about itself on its own stderr is no output of a cell
            client.execute(env=kernel_environment(Path(scratch)), stderr=subprocess.DEVNULL)
        except CellExecutionError as error:
            text = re.sub(r"\x1b\[[0-9;]*m", "", str(error.traceback)).strip()
            raise CellFailed(f"{name}, {place['cell']}: {text[-3000:]}") from None
        except CellTimeoutError:
            raise LabError(f"{name}, {place['cell']}: still running after {timeout:g} s") from None
        except (DeadKernelError, RuntimeError) as error:
            raise LabError(f"{name}, {place['cell']}: the kernel died or does not answer ({error})") from None
        seconds = time.perf_counter() - start
    return Executed(book, seconds, _states(client) if widgets else {})


def _states(client: Any) -> dict[str, dict[str, Any]]:
    """Model id -> the widget's traits; bytes as ``{"$bytes": base64}``, as widgets/page.js reads them."""
    states = {}
    for model_id, state in client.widget_state.items():
        state = _plain(state)
        for buffer in client.widget_buffers.get(model_id, {}).values():
            *path, last = buffer["path"]
            target = state
            try:
                for key in path:
                    target = target[key]
                target[last] = {"$bytes": buffer["data"]}
            except (KeyError, IndexError, TypeError):  # of a value that was replaced since
                continue
        states[model_id] = state
    return states


def _plain(value: Any) -> Any:
    """A copy of nested dicts and lists."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


# -------------------------------------------------------------------------------------------------------- normalising


def clear(book: NotebookNode) -> None:
    """Remove all outputs and execution counts."""
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None


def normalise(book: NotebookNode) -> None:
    """Bring an executed notebook into the one form that is stored."""
    book.nbformat, book.nbformat_minor = 4, 5
    book.metadata = nbformat.from_dict(_plain(METADATA))
    count = 0
    for cell in book.cells:
        kept = sorted(tags(cell), key=list(cell.metadata.get("tags", ())).index)
        cell.metadata = nbformat.from_dict({"tags": kept} if kept else {})
        if "hide-input" in kept:
            cell.metadata["jupyter"] = nbformat.from_dict(FOLDED)
        if cell.cell_type != "code":
            continue
        cell.execution_count = None
        if cell.source.strip():
            count += 1
            cell.execution_count = count
        cell.outputs = [out for out in map(_output, _merged(cell.outputs)) if out is not None]
        for out in cell.outputs:
            if out.output_type == "execute_result":
                out.execution_count = cell.execution_count


def _merged(outputs: Sequence[NotebookNode]) -> list[NotebookNode]:
    """Neighbouring streams of one name as one."""
    merged: list[NotebookNode] = []
    for out in outputs:
        if out.output_type == "stream" and merged and merged[-1].get("name") == out.name:
            merged[-1].text += out.text
        else:
            merged.append(out)
    return merged


def _output(out: NotebookNode) -> NotebookNode | None:
    if out.output_type == "stream":
        out.text = _relative(collapse(out.text))
        return out if out.text else None
    if out.output_type == "error":
        return out
    out.pop("transient", None)
    data = out.data
    if data.pop(WIDGET, None) is not None and not data:
        data["text/plain"] = "a widget: run this cell to see it"
    for kind, value in data.items():
        if isinstance(value, str) and kind.startswith("text/"):
            value = re.sub(r"\bat 0x[0-9a-fA-F]{6,}", "at 0x…", value)
            data[kind] = _relative(value)
    out.metadata = nbformat.from_dict({k: v for k, v in out.metadata.items() if k in data})
    return out


def collapse(text: str) -> str:
    """Text as a terminal leaves it where carriage returns overwrite a line, as progress bars do."""
    lines = []
    for line in text.replace("\r\n", "\n").split("\n"):
        parts = [part for part in line.split("\r") if part.strip()]
        lines.append(parts[-1] if parts else ("" if "\r" in line else line))
    return "\n".join(lines)


def _relative(text: str) -> str:
    """The project's folder as ``.``, the user's as ``~``."""
    for place, short in ((str(ROOT), "."), (str(Path.home()), "~")):
        if len(place) > 1:
            text = re.sub(rf"(?<![\w.~/-]){re.escape(place)}(?![\w.-])", short, text).replace(f"{short}//", f"{short}/")
    return text


# ----------------------------------------------------------------------------------------------------------- checking


def parses(source: str) -> str:
    """What keeps a cell from parsing; empty where it parses.  Magics are allowed."""
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        ast.parse(TransformerManager().transform_cell(source))
    except (SyntaxError, ValueError) as error:
        return str(error)
    return ""


def problems(book: NotebookNode, name: str, outputs: bool = True) -> list[str]:
    """Everything about a notebook that is not as it must be; one line each.

    Args:
        name: of its file, "03_reparameterization.ipynb".
        outputs: look at the stored outputs too.
    """
    found: list[str] = []

    def note(cell: NotebookNode | None, text: str) -> None:
        found.append(f"{name}: {text}" if cell is None else f"{name}, cell {cell.get('id', '?')}: {text}")

    if "widgets" in book.metadata:
        note(None, "widget state is stored")
    if set(book.metadata) - set(METADATA):
        note(None, f"metadata holds {', '.join(sorted(set(book.metadata) - set(METADATA)))}")
    seen: set[str] = set()
    for cell in book.cells:
        key = cell.get("id", "")
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", key) or re.fullmatch(r"(?=.*\d)[0-9a-f-]{8,}", key):
            note(cell, "has no speaking id (letters, digits, hyphens)")
        if key in seen:
            note(cell, "has the id of another cell")
        seen.add(key)
        if tags(cell) - TAGS:
            note(cell, f"has unknown tags {', '.join(sorted(tags(cell) - TAGS))}")
        expected = {"tags", "jupyter"} if "hide-input" in tags(cell) else {"tags"}
        if set(cell.metadata) - expected:
            note(cell, f"metadata holds {', '.join(sorted(set(cell.metadata) - expected))}")
        if "hide-input" in tags(cell) and cell.metadata.get("jupyter") != FOLDED:
            note(cell, "is tagged hide-input but not folded: its metadata lack jupyter.source_hidden")
        if cell.cell_type == "code" and parses(cell.source):
            note(cell, f"does not parse: {parses(cell.source)}")
    _structure(book, name, note)
    if outputs:
        _outputs(book, note)
    return found


Note = Callable[[NotebookNode | None, str], None]


def _structure(book: NotebookNode, name: str, note: Note) -> None:
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    if not code:
        return note(None, "has no code cells")
    if not (book.cells[0].cell_type == "markdown" and re.match(r"# \S", book.cells[0].source)):
        note(book.cells[0], "the first cell is not a title (# …)")
    if code[0].get("id") != "setup" or "lab.begin()" not in "".join(cell.source for cell in code[:2]):
        note(code[0], "the first code cell is not `setup`, or lab.begin() is missing")
    if not code[-1].source.rstrip().endswith("lab.finish()"):
        note(code[-1], "the last code cell does not end with lab.finish()")
    place = {cell.get("id", ""): k for k, cell in enumerate(book.cells)}
    for cell in book.cells:
        key = cell.get("id", "")
        for tag, kind in (("exercise", "answer"), ("check", "check"), ("solution", "solution")):
            named = re.fullmatch(rf"{kind}-\d+-\d+", key)
            if tag in tags(cell) and not named:
                note(cell, f"is tagged {tag} but not called {kind}-N-M")
            if named and tag not in tags(cell):
                note(cell, f"lacks the tag {tag}")
        if cell.cell_type == "code" and "exercise" not in tags(cell) and "SOLUTION" in cell.source:
            note(cell, "marks a SOLUTION but is not tagged exercise")
    for key, k in place.items():
        part = re.fullmatch(r"(answer|check)-(\d+)-(\d+)", key)
        if not part:
            continue
        number, dashed = f"{part[2]}.{part[3]}", f"{part[2]}-{part[3]}"
        if name[:2].isdigit() and int(name[:2]) != int(part[2]):
            note(book.cells[k], f"exercise {number} stands in notebook {name[:2]}")
        if part[1] == "check":
            _check_cell(book.cells[k], number, note)
            if not place.get(f"answer-{dashed}", k) < k:
                note(book.cells[k], f"there is no answer-{dashed} before it")
            continue
        if not place.get(f"check-{dashed}", -1) > k:
            note(book.cells[k], f"there is no check-{dashed} after it")
        if not re.search(r"^\s*# SOLUTION\b.*\n(?:.*\n)*?\s*# END SOLUTION\s*$", book.cells[k].source, re.M):
            note(book.cells[k], "has no lines # SOLUTION … # END SOLUTION")
        text = place.get(f"exercise-{dashed}-text", len(book.cells))
        if not text < k:
            note(book.cells[k], f"there is no exercise-{dashed}-text before it")
        else:
            _text_cell(book.cells[text], number, note)


def _text_cell(cell: NotebookNode, number: str, note: Note) -> None:
    if not re.match(rf"### Exercise {re.escape(number)} · \S", cell.source):
        note(cell, f"does not begin with `### Exercise {number} · title`")
    if not re.search(r"Difficulty [●○]{5} · Importance [●○]{5} · about \d+ minutes?", cell.source):
        note(cell, "does not say `Difficulty ●●○○○ · Importance ●●●○○ · about N minutes`")
    if "<summary>Hint" not in cell.source:
        note(cell, "has no hint to unfold")


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


def _check_cell(cell: NotebookNode, number: str, note: Note) -> None:
    from labutils import checks

    call = check_call(cell.source)
    if call is None:
        return note(cell, f"is not `{MARK}` and checks.NAME(…)")
    if number not in checks.EXERCISES:
        return note(cell, f"labutils.checks knows no exercise {number}")
    if getattr(checks, call.func.attr, None) is not checks.EXERCISES[number]:
        note(cell, f"checks.{call.func.attr} is not the check of exercise {number}")


def passed_line(number: str) -> str:
    """What a check prints when the answer is right."""
    from labutils.checks import EXERCISES

    return f"passed {number}: {EXERCISES[number].title}\n"


def _outputs(book: NotebookNode, note: Note) -> None:
    from labutils.checks import EXERCISES

    count = 0
    for cell in book.cells:
        if cell.cell_type != "code":
            continue
        if cell.source.strip():
            count += 1
            if cell.execution_count != count:
                note(cell, f"execution count is {cell.execution_count}, not {count}: run `make notebooks`")
        for out in cell.outputs:
            text = _text(out)
            if out.output_type == "error":
                note(cell, f"an error is stored: {out.ename}")
            if out.output_type == "stream" and out.name == "stderr":
                note(cell, f"stderr is stored: {out.text.strip()[:80]}")
            if WIDGET in out.get("data", {}):
                note(cell, "a widget view is stored")
            if "\r" in text:
                note(cell, "a carriage return is stored")
            if PLACE.search(text):
                note(cell, f"names a place on somebody's machine: {PLACE.search(text)[0][:60]}")
        part = re.fullmatch(r"check-(\d+)-(\d+)", cell.get("id", ""))
        if part and f"{part[1]}.{part[2]}" in EXERCISES:
            wanted = passed_line(f"{part[1]}.{part[2]}")
            if [(o.output_type, o.get("name"), o.get("text")) for o in cell.outputs] != [("stream", "stdout", wanted)]:
                note(cell, f"the stored output is not the one line {wanted.strip()!r}")
    size = len(nbformat.v4.writes(book).encode("utf-8"))
    if size >= LIMIT:
        note(None, f"{size / 1e6:.1f} MB; must be less than {LIMIT / 1e6:g} MB")


def _text(out: NotebookNode) -> str:
    """What a reader may see of an output as text."""
    if out.output_type == "stream":
        return out.text
    return "\n".join(v for k, v in out.get("data", {}).items() if isinstance(v, str) and k.startswith("text/"))


# -------------------------------------------------------------------------------------------------------- the command


def run(paths: Sequence[Path], timeout: float = 1800, say: Callable[[str], None] = print) -> None:
    """Run notebooks one after the other and store each that ran clean; one line for each.

    Raises:
        LabError: at the end, with everything that was wrong; the notebooks concerned are left as they were.
    """
    wrong, start = [], time.perf_counter()
    for k, path in enumerate(paths, 1):
        head = f"{k:2}/{len(paths)} {path.stem:28}"
        try:
            done = execute(read(path), path.name, path.parent, timeout)
        except LabError as error:
            wrong.append(str(error))
            say(f"{head} failed")
            continue
        normalise(done.book)
        # Where exercises or ids are not as they must be is for --check to say; here only what storing would spoil.
        bad = [line for line in problems(done.book, path.name) if re.search(r"place on|MB; must|is stored", line)]
        if bad:
            wrong += bad
            say(f"{head} {done.seconds:6.1f} s  not stored")
            continue
        size = write(path, done.book)
        say(f"{head} {done.seconds:6.1f} s  {size / 1e6:.2f} MB")
    say(f"{len(paths)} notebooks in {time.perf_counter() - start:.0f} s")
    if wrong:
        raise LabError("these notebooks were not stored:\n" + "\n".join(wrong))


def check(paths: Sequence[Path], say: Callable[[str], None] = print) -> None:
    """Say for each stored notebook whether it is complete.

    Raises:
        LabError: with everything that is wrong.
    """
    wrong = []
    for path in paths:
        bad = problems(read(path), path.name)
        say(f"{path.stem:28} {'complete' if not bad else f'{len(bad)} problems'}")
        wrong += bad
    if wrong:
        raise LabError("\n".join(["not as stored notebooks must be:", *wrong]))
