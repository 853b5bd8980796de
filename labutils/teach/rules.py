"""What a stored notebook must be: its form, its exercises, and the outputs that are kept in it."""

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from labutils import checks
from labutils.errors import LabError
from labutils.teach import notebooks
from labutils.teach.notebooks import SOLUTION, cell_id, check_call, exercise_of, passed_line, tags

LIMIT = 2_000_000  # bytes of a stored notebook
KINDS = {"exercise": "answer", "check": "check", "solution": "solution"}  # tag -> how the ids of such cells begin
# A place on somebody's machine
PLACE = re.compile(r"(?<![\w.~/}-])/(?:home|root|work|Users|mnt|tmp|var|private)/\w[^\s\"'<>]*")

Found = Iterator[tuple[NotebookNode | None, str]]  # a cell, or None for the whole notebook, and what is wrong with it


def check(paths: Sequence[Path]) -> None:
    """Say for each stored notebook whether it is complete.

    Raises:
        LabError: with everything that is wrong.
    """
    wrong = []
    for path in paths:
        bad = problems(notebooks.read(path), path.name)
        print(f"{path.stem:28} {'complete' if not bad else f'{len(bad)} problems'}")
        wrong += bad
    if wrong:
        raise LabError("\n".join(["not as stored notebooks must be:", *wrong]))


def problems(book: NotebookNode, name: str) -> list[str]:
    """Everything about a notebook that is not as it must be; one line each.

    Args:
        name: of its file, "03_reparameterization.ipynb".
    """
    found = [*_form(book), *_exercises(book, name[:2]), *_stored(book)]
    return [f"{name}{'' if cell is None else ', cell ' + cell.get('id', '?')}: {text}" for cell, text in found]


def unfit(book: NotebookNode, name: str) -> list[str]:
    """Those of its problems for which it must not be stored: an error, stderr, a place on a machine, its size."""
    return [line for line in problems(book, name) if re.search(r"place on|MB; must|is stored", line)]


def _form(book: NotebookNode) -> Found:
    """Metadata, ids and tags; the title, the setup and the end."""
    if "widgets" in book.metadata:
        yield None, "widget state is stored"
    if other := sorted(set(book.metadata) - set(notebooks.METADATA)):
        yield None, f"metadata holds {', '.join(other)}"
    seen: set[str] = set()
    for cell in book.cells:
        key, hidden = cell.get("id", ""), "hide-input" in tags(cell)
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", key) or re.fullmatch(r"(?=.*\d)[0-9a-f-]{8,}", key):
            yield cell, "has no speaking id (letters, digits, hyphens)"
        if key in seen:
            yield cell, "has the id of another cell"
        seen.add(key)
        if other := sorted(tags(cell) - {*KINDS, "hide-input"}):
            yield cell, f"has unknown tags {', '.join(other)}"
        if other := sorted(set(cell.metadata) - {"tags", *(["jupyter"] if hidden else [])}):
            yield cell, f"metadata holds {', '.join(other)}"
        if hidden and cell.metadata.get("jupyter") != notebooks.FOLDED:
            yield cell, "is tagged hide-input but not folded: its metadata lack jupyter.source_hidden"
        if cell.cell_type == "code" and (wrong := notebooks.parses(cell.source)):
            yield cell, f"does not parse: {wrong}"
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    if not code:
        yield None, "has no code cells"
        return
    if not (book.cells[0].cell_type == "markdown" and re.match(r"# \S", book.cells[0].source)):
        yield book.cells[0], "the first cell is not a title (# …)"
    if code[0].get("id") != "setup" or "lab.begin()" not in "".join(cell.source for cell in code[:2]):
        yield code[0], "the first code cell is not `setup`, or lab.begin() is missing"
    if not code[-1].source.rstrip().endswith("lab.finish()"):
        yield code[-1], "the last code cell does not end with lab.finish()"


def _exercises(book: NotebookNode, notebook: str) -> Found:
    """Text, answer, check and solution of each exercise, their order and their marks."""
    place = {cell.get("id", ""): k for k, cell in enumerate(book.cells)}
    for k, cell in enumerate(book.cells):
        for tag, kind in KINDS.items():
            named = exercise_of(cell, kind)
            if tag in tags(cell) and not named:
                yield cell, f"is tagged {tag} but not called {kind}-N-M"
            if named and tag not in tags(cell):
                yield cell, f"lacks the tag {tag}"
        if cell.cell_type == "code" and "exercise" not in tags(cell) and "SOLUTION" in cell.source:
            yield cell, "marks a SOLUTION but is not tagged exercise"
        number = exercise_of(cell, "answer|check")
        if number and notebook.isdigit() and int(notebook) != int(number.partition(".")[0]):
            yield cell, f"exercise {number} stands in notebook {notebook}"
        if number := exercise_of(cell, "check"):
            if wrong := wrong_call(cell.source, number):
                yield cell, wrong
            if not place.get(cell_id("answer", number), k) < k:
                yield cell, f"there is no {cell_id('answer', number)} before it"
        if number := exercise_of(cell, "answer"):
            if not place.get(cell_id("check", number), -1) > k:
                yield cell, f"there is no {cell_id('check', number)} after it"
            if not SOLUTION.search(cell.source):
                yield cell, "has no lines # SOLUTION … # END SOLUTION"
            text = place.get(f"{cell_id('exercise', number)}-text", len(book.cells))
            if text >= k:
                yield cell, f"there is no {cell_id('exercise', number)}-text before it"
            else:
                yield from ((book.cells[text], wrong) for wrong in _wrong_text(book.cells[text].source, number))


def wrong_call(source: str, number: str) -> str:
    """What is wrong with the source of the check cell of an exercise; empty where it calls the exercise's check."""
    call = check_call(source)
    if call is None:
        return f"is not `{notebooks.MARK}` and checks.NAME(…)"
    if number not in checks.EXERCISES:
        return f"labutils.checks knows no exercise {number}"
    name = ast.unparse(call.func)
    if getattr(checks, name.removeprefix("checks."), None) is not checks.EXERCISES[number]:
        return f"{name} is not the check of exercise {number}"
    return ""


def _wrong_text(source: str, number: str) -> Iterator[str]:
    if not re.match(rf"### Exercise {re.escape(number)} · \S", source):
        yield f"does not begin with `### Exercise {number} · title`"
    if not re.search(r"Difficulty [●○]{5} · Importance [●○]{5} · about \d+ minutes?", source):
        yield "does not say `Difficulty ●●○○○ · Importance ●●●○○ · about N minutes`"
    if "<summary>Hint" not in source:
        yield "has no hint to unfold"


def _stored(book: NotebookNode) -> Found:
    """Execution counts, outputs, and the size of the whole."""
    count = 0
    for cell in (cell for cell in book.cells if cell.cell_type == "code"):
        if cell.source.strip():
            count += 1
            if cell.execution_count != count:
                yield cell, f"execution count is {cell.execution_count}, not {count}: run `make notebooks`"
        for out in cell.outputs:
            data = out.get("data", {})
            text = out.get("text", "") or "\n".join(v for k, v in data.items() if k.startswith("text/"))
            if out.output_type == "error":
                yield cell, f"an error is stored: {out.ename}"
            if out.get("name") == "stderr":
                yield cell, f"stderr is stored: {text.strip()[:80]}"
            if notebooks.WIDGET in data:
                yield cell, "a widget view is stored"
            if "\r" in text:
                yield cell, "a carriage return is stored"
            if place := PLACE.search(text):
                yield cell, f"names a place on somebody's machine: {place[0][:60]}"
        number = exercise_of(cell, "check")
        if number in checks.EXERCISES:
            wanted = passed_line(number)
            if [(o.output_type, o.get("name"), o.get("text")) for o in cell.outputs] != [("stream", "stdout", wanted)]:
                yield cell, f"the stored output is not the one line {wanted.strip()!r}"
    size = len(nbformat.v4.writes(book).encode("utf-8"))
    if size >= LIMIT:
        yield None, f"{size / 1e6:.1f} MB; must be less than {LIMIT / 1e6:g} MB"
