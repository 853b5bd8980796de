"""The notebooks: their form, what is stored in them, and the tools that run and store them."""

import re
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
import series
from nbformat.v4 import new_output
from refusals import refuses

from labutils.__main__ import main
from labutils.errors import LabError
from labutils.teach import execution, notebooks
from labutils.teach.notebooks import WIDGET, collapse, find, normalise, read
from labutils.teach.rules import problems
from labutils.teach.student import edition

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["00_start_here", "01_data", "02_modules", "03_reparameterization", "04_derivation", "05_annealing",
         "06_training", "07_validation", "08_analysis", "09_test_and_hand_in", "10_further"]  # fmt: skip
BOOKS = [ROOT / "notebooks" / f"{name}.ipynb" for name in NAMES]
each = pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)


# --------------------------------------------------------------------------------------------------------- the series


def test_the_series_is_complete():
    assert find() == BOOKS


@each
def test_what_is_stored_is_complete(path):
    """Title, setup and end, ids and tags, exercises and checks, execution counts and outputs; every cell parses."""
    assert problems(read(path), path.name) == []


@each
def test_student_edition_holds_no_solution(path):
    """That every cell of it parses, ``edition`` sees to itself."""
    book = edition(read(path), path.name)
    assert not any("SOLUTION" in cell.source or "solution" in notebooks.tags(cell) for cell in book.cells)


@each
def test_links_and_pictures_lead_somewhere_and_the_end_to_the_next_notebook(path):
    cells = [cell.source for cell in read(path).cells if cell.cell_type == "markdown"]
    text = "\n".join(cells)
    for target in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"(?:src|href)=\"([^\"]+)\"", text):
        if not re.match(r"https?://|#|data:", target):
            assert (path.parent / target.partition("#")[0]).resolve().exists(), target
    assert path == BOOKS[-1] or BOOKS[BOOKS.index(path) + 1].name in "\n".join(cells[-2:])
    assert text.count("<details>") == text.count("</details>") == text.count("<summary>")


def test_drawings_need_nothing_from_elsewhere():
    drawings = list((ROOT / "notebooks" / "images").glob("*.svg"))
    assert drawings
    for path in drawings:
        root = ElementTree.parse(path).getroot()
        assert {element.tag.partition("}")[2] for element in root.iter()} <= {
            "svg", "title", "rect", "circle", "path", "polygon", "text", "tspan",
        }, path.name  # fmt: skip
        assert path.stat().st_size < 20_000 and root.get("viewBox"), path.name


# -------------------------------------------------------------------------------------------------------- normalising


def stored() -> nbformat.NotebookNode:
    """A notebook as a run leaves it."""
    book = series.book(series.code("show", "x"), series.code("empty", ""))
    book.cells = [cell for cell in book.cells if not re.match(r"(exercise|answer|check|solution)-", cell.id)]
    for count, cell in enumerate((cell for cell in book.cells if cell.cell_type == "code"), 41):
        cell.execution_count = count
        cell.metadata["execution"] = {"iopub.status.busy": "2026-11-22T13:00:00"}
    return book


def test_normalising_leaves_what_does_not_change_from_run_to_run():
    book = stored()
    book.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {}}
    book.metadata["language_info"]["version"] = "3.11.9"
    show = next(cell for cell in book.cells if cell.id == "show")
    show.metadata["tags"] = ["hide-input"]
    show.outputs = [
        new_output("stream", text="10 %\r50 %"),
        new_output("stream", text=f"\r100 %\nwrote {notebooks.ROOT}/outputs/a.png in {notebooks.ROOT}\n"),
        new_output("display_data", {WIDGET: {"model_id": "1"}, "image/png": "AA==", "text/plain": "Scrubber()"}),
        new_output("display_data", {WIDGET: {"model_id": "2"}, "text/plain": "<A at 0x7f123456abcd>"}),
        new_output("display_data", {WIDGET: {"model_id": "3"}}),
        new_output(
            "execute_result", {"text/html": f"{Path.home()}/x"}, execution_count=77, metadata={"isolated": True}
        ),
    ]
    normalise(book)
    assert set(book.metadata) == {"kernelspec", "language_info"} and book.metadata.language_info == {"name": "python"}
    assert [cell.get("execution_count") for cell in book.cells if cell.cell_type == "code"] == [1, 2, None, 3]
    assert all(set(cell.metadata) <= {"tags"} for cell in book.cells if cell is not show)
    assert show.metadata == {"tags": ["hide-input"], "jupyter": {"source_hidden": True}}
    assert show.outputs[0].text == "100 %\nwrote ./outputs/a.png in .\n"
    assert [dict(out.data) for out in show.outputs[1:]] == [
        {"image/png": "AA==", "text/plain": "Scrubber()"},
        {"text/plain": "<A at 0x…>"},
        {"text/plain": "a widget: run this cell to see it"},
        {"text/html": "~/x"},
    ]
    assert show.outputs[-1].execution_count == show.execution_count and show.outputs[-1].metadata == {}
    assert problems(book, "90_tiny.ipynb") == []
    again = nbformat.writes(book)
    normalise(book)
    assert nbformat.writes(book) == again


@pytest.mark.parametrize(
    "text, left",
    [
        ("a\nb\n", "a\nb\n"),
        ("10 %\r20 %\rdone\n", "done\n"),
        ("x\r\ny\r\n", "x\ny\n"),
        ("50 %\r", "50 %"),
        ("\r  \r", ""),
    ],
)
def test_progress_is_collapsed(text, left):
    assert collapse(text) == left


# What is said -> what is done to a whole notebook, by the ids of its cells.
BREAKS = {
    "metadata holds authors": lambda b, c: b.metadata.update(authors=[]),
    "widget state is stored": lambda b, c: b.metadata.update(widgets={}),
    "cell 8f14e45f: has no speaking id": lambda b, c: c["setup"].update(id="8f14e45f"),
    "cell show: has the id of another cell": lambda b, c: c["title"].update(id="show"),
    "unknown tags slow": lambda b, c: c["setup"].metadata.update(tags=["slow"]),
    "metadata holds collapsed": lambda b, c: c["setup"].metadata.update(collapsed=True),
    "tagged hide-input but not folded": lambda b, c: c["setup"].metadata.update(tags=["hide-input"]),
    "does not parse": lambda b, c: c["show"].update(source="if"),
    "the first cell is not a title": lambda b, c: c["title"].update(source="Tiny"),
    "lab.begin() is missing": lambda b, c: c["setup"].update(source="x = 1"),
    "does not end with lab.finish()": lambda b, c: c["finish"].update(source="x"),
    "is tagged exercise but not called": lambda b, c: c["show"].metadata.update(tags=["exercise"]),
    "marks a SOLUTION": lambda b, c: c["show"].update(source="# SOLUTION\nx\n# END SOLUTION"),
    "execution count is 7, not 8": lambda b, c: c["show"].update(execution_count=7),
    "execution count is None, not 8": lambda b, c: c["show"].update(execution_count=None),
    "an error is stored: ValueError": lambda b, c: says(c, "error", ename="ValueError"),
    "stderr is stored: oh": lambda b, c: says(c, "stream", name="stderr", text="oh"),
    "a widget view is stored": lambda b, c: says(c, "display_data", {WIDGET: {}}),
    "a carriage return": lambda b, c: says(c, "stream", text="1\r2"),
    "names a place on": lambda b, c: says(c, "stream", text="in " + "/" + "home/ann/x"),
    "MB; must be less than 2 MB": lambda b, c: says(c, "stream", text="x" * 2_000_000),
    "there is no check-90-1 after it": lambda b, c: b.cells.remove(c["check-90-1"]),
    "there is no answer-90-1 before it": lambda b, c: b.cells.remove(c["answer-90-1"]),
    "there is no exercise-90-1-text before it": lambda b, c: b.cells.remove(c["exercise-90-1-text"]),
    "has no lines # SOLUTION": lambda b, c: c["answer-90-1"].update(source="def double(x): return x"),
    "lacks the tag check": lambda b, c: c["check-90-1"].metadata.clear(),
    "is not `# NBVAL_CHECK_OUTPUT` and checks.NAME": lambda b, c: c["check-90-1"].update(source=DOUBLE),
    "checks.half_90 is not the check of exercise 90.1": lambda b, c: c["check-90-1"].update(
        source="# NBVAL_CHECK_OUTPUT\nchecks.half_90(double)"
    ),
    "does not begin with `### Exercise 90.1": lambda b, c: c["exercise-90-1-text"].update(source="### Exercise 9"),
    "has no hint": lambda b, c: c["exercise-90-1-text"].update(source="### Exercise 90.1 · double"),
    "the stored output is not the one line 'passed 90.1: double'": lambda b, c: c["check-90-1"].update(outputs=[]),
}
DOUBLE = series.CALLS["90.1"]


def says(cells, *args, **options):
    cells["show"].outputs = [new_output(*args, **options)]


@pytest.mark.parametrize("message", BREAKS)
def test_checking_tells_what_is_wrong(message, tmp_path):
    book = series.book(series.code("show", "x"))
    cells = {cell.id: cell for cell in book.cells}
    for number, title in series.TITLES.items():
        cells[f"check-{number.replace('.', '-')}"].outputs = [new_output("stream", text=f"passed {number}: {title}\n")]
    normalise(book)
    with series.known(tmp_path):
        assert problems(book, "90_tiny.ipynb") == []
        BREAKS[message](book, cells)
        found = problems(book, "90_tiny.ipynb")
    assert any(message in line and line.startswith("90_tiny.ipynb") for line in found), found


# ------------------------------------------------------------------------------------------------- running and storing


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of notebooks in the place of the project's."""
    monkeypatch.setattr(notebooks, "FOLDER", tmp_path)
    return tmp_path


def plain(path: Path, *sources: str) -> Path:
    """Write a notebook that imports nothing, so that it runs in a second."""
    cells = [series.code(f"cell-{k}", text) for k, text in enumerate(sources)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def test_find_by_number_name_and_path(folder):
    a, b, c = (plain(folder / f"{name}.ipynb", "1") for name in ("00_a", "03_b", "10_c"))
    (folder / "notes.ipynb").write_text("{}")
    assert find() == [a, b, c]
    assert find(["3", "00", "10_c", "10_c.ipynb", str(b)]) == [b, a, c, c, b]
    refuses("there is no notebook '4'; there are 00_a, 03_b, 10_c", find, ["4"])
    for name in ("notes.ipynb", "none.ipynb"):
        refuses(f"{name} cannot be read as a notebook", read, folder / name)


def test_running_stores_what_ran_clean_and_leaves_the_rest(folder, capsys):
    """One good notebook and the ways to fail."""
    environment = "import os; print('a'); print('inline' in os.environ.get('MPLBACKEND', 'inline'))"
    paths = [
        plain(folder / "00_good.ipynb", "x = 20 + 1\nx * 2", environment),
        plain(folder / "01_error.ipynb", "x = 1", "1 / 0"),
        plain(folder / "02_stderr.ipynb", "import warnings; warnings.warn('careful')"),
        plain(folder / "03_place.ipynb", "print('/' + 'home/ann/secret')"),
    ]
    before = [path.read_bytes() for path in paths]
    with pytest.raises(LabError) as refused:
        execution.store(paths, 60)
    text, said = str(refused.value), capsys.readouterr().out.splitlines()
    assert "01_error.ipynb, cell cell-1: " in text and "ZeroDivisionError" in text
    assert "02_stderr.ipynb, cell cell-0: wrote to stderr" in text and "careful" in text
    assert "03_place.ipynb, cell cell-0: names a place" in text and "00_good" not in text
    assert re.fullmatch(r" 1/4 00_good +\d+\.\d s +0\.00 MB", said[0]) and said[1].endswith("failed")
    book = read(paths[0])
    assert book.cells[0].outputs[0].data["text/plain"] == "42" and book.cells[1].outputs[0].text == "a\nTrue\n"
    assert [cell.execution_count for cell in book.cells] == [1, 2]
    assert [path.read_bytes() for path in paths[1:]] == before[1:]
    assert sorted(folder.iterdir()) == paths


@pytest.mark.parametrize(
    "source, message", [("while True: pass", "still running after 2 s"), ("import os; os._exit(1)", "the kernel died")]
)
def test_a_cell_that_hangs_or_kills_the_kernel_is_named(tmp_path, source, message):
    refuses(rf"x\.ipynb, cell cell-0: {message}", execution.execute, plain(tmp_path / "x.ipynb", source), timeout=2)


def test_check_command_is_one_list_of_everything(folder, capsys):
    book = stored()
    normalise(book)
    nbformat.write(book, folder / "90_fine.ipynb")
    plain(folder / "91_bad.ipynb", "1")
    assert main(["notebooks", "--check", "90"]) == 0
    assert capsys.readouterr().out.split() == ["90_fine", "complete"]
    assert main(["notebooks", "--check"]) == 2
    shown = capsys.readouterr()
    assert "91_bad" in shown.out and "91_bad.ipynb, cell cell-0: execution count is None" in shown.err
    assert main(["notebooks", "4"]) == 2
    assert capsys.readouterr().err.startswith("error: there is no notebook '4'")
