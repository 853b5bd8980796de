"""The notebooks: their form, what is stored in them, and the tool that stores it."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import series
from nbformat.v4 import new_output

from labutils import checks
from labutils.__main__ import main
from labutils.errors import LabError
from labutils.teach import grading, notebooks
from labutils.teach.notebooks import WIDGET, CellFailed, collapse, execute, find, normalise, problems, read

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["00_start_here", "01_data", "02_modules", "03_reparameterization", "04_derivation", "05_annealing",
         "06_training", "07_validation", "08_analysis", "09_test_and_hand_in", "10_further"]  # fmt: skip
BOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
each = pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)


def text_of(path: Path) -> str:
    """Everything that stands in the cells of a notebook."""
    return "\n\n".join(cell.source for cell in read(path).cells)


# --------------------------------------------------------------------------------------------------------- the series


def test_the_series_is_complete():
    assert [path.stem for path in BOOKS] == NAMES


@each
def test_form(path):
    """Title, setup and end, ids and tags, exercises and their checks; every cell parses."""
    assert problems(read(path), path.name, outputs=False) == []


@each
def test_what_is_stored_is_complete(path):
    """Outputs and execution counts; without them nbval compares nothing.  `make notebooks` makes them."""
    assert problems(read(path), path.name) == []


@each
def test_student_edition_parses_and_holds_no_solution(path):
    book = grading.student(read(path), path.name)
    assert not any("SOLUTION" in cell.source or "solution" in notebooks.tags(cell) for cell in book.cells)
    assert all(not notebooks.parses(cell.source) for cell in book.cells if cell.cell_type == "code")


@each
def test_says_what_a_reader_wants_to_know(path):
    text = text_of(path)
    start = "\n".join(cell.source for cell in read(path).cells[:3]).lower()
    assert "minute" in start or "hour" in start, "no time at the beginning"
    assert len(re.findall(r"^\s*[-*] ", read(path).cells[0].source + read(path).cells[1].source, re.M)) >= 3, "no goals"
    assert re.search(r"^#+ .*what you learned", text, re.M | re.I), "no summary"
    assert path.stem == "00_start_here" or re.search(r"^#+ .*questions", text, re.M | re.I), "no questions"
    assert text.count("<details>") == text.count("</details>") == text.count("<summary>")
    following = [name for name in NAMES if name > path.stem][:1]
    assert all(f"{name}.ipynb" in read(path).cells[-1].source for name in following), "no link to the next notebook"


@each
def test_links_and_pictures_lead_somewhere(path):
    text = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    text = re.sub(r"```.*?```", "", text, flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"(?:src|href)=\"([^\"]+)\"", text):
        if not re.match(r"https?://|#|data:|attachment:", target):
            assert (path.parent / target.partition("#")[0]).resolve().exists(), target


def test_every_exercise_has_its_place_and_its_tests():
    placed = {}
    for path in BOOKS:
        for cell in read(path).cells:
            if re.fullmatch(r"check-\d+-\d+", cell.get("id", "")):
                placed[cell.id.removeprefix("check-").replace("-", ".")] = path.name
    registered = {number for number in checks.EXERCISES if not number.startswith("90.")}
    assert set(placed) == registered
    for number in registered:
        file = ROOT / "tests" / f"test_checks_nb{int(number.split('.')[0]):02d}.py"
        assert file.is_file(), f"{file.name}, the tests of exercise {number}, is missing"
    assert len(registered) >= 20


PARTS = {  # of the assignment -> what must stand in some notebook
    "five modules": r"RGB_Encoder.*Label_Encoder.*Gaussian_Predictor.*Decoder_Fusion.*Generator",
    "reparameterization": r"def reparameterize\(",
    "KL divergence": r"def kl\w*\(",
    "KL annealing": r"Cyclical.*Monotonic|Monotonic.*Cyclical",
    "teacher forcing": r"tfr_sde",
    "training step": r"teacher.forcing.*loss",
    "clips of 16 frames": r"16 frames|16-frame",
    "validation of 629 frames": r"629",
    "PSNR of each frame": r"PSNR.{0,40}frame",
    "GIF": r"write_gif|\.gif",
    "rollout from the prior": r"prior",
    "test sequences and AVG": r"AVG",
    "fast_train": r"fast_train",
    "derivation": r"log p\(X",
    "EM": r"\bEM\b",
    "Trainer and Tester": r"labutils train|labutils test",
    "baselines": r"copy(?:ing)? the first frame|copy_first|copying x",
    "grade": r"[Gg]rade",
    "submission.csv": r"submission\.csv",
    "zip to hand in": r"LAB4_",
    "report.pdf": r"report\.pdf",
    "demo: decoder fusion's three inputs": r"three inputs",
    "demo: AE and VAE": r"\bAE\b|autoencoder",
    "demo: generative part": r"generative",
    "defect: eval shadowed": r"eval\(\)",
    "defect: leak": r"leak",
    "Everybody Dance Now": r"Everybody Dance Now",
    "SVG": r"Stochastic Video Generation",
    "Cyclical Annealing": r"Cyclical Annealing",
}


@pytest.mark.parametrize("part", PARTS)
def test_every_part_of_the_assignment_has_its_place(part):
    assert any(re.search(PARTS[part], text_of(path), re.S) for path in BOOKS), part


def test_notebooks_are_formatted():
    for command in (["check", "--no-cache"], ["format", "--check", "--no-cache"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "notebooks"], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout


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


BREAKS = {
    "metadata holds authors": lambda b: b.metadata.update(authors=[]),
    "widget state is stored": lambda b: b.metadata.update(widgets={}),
    "cell 8f14e45f: has no speaking id": lambda b: b.cells[1].update(id="8f14e45f"),
    "cell show: has the id of another cell": lambda b: b.cells[0].update(id="show"),
    "unknown tags slow": lambda b: b.cells[1].metadata.update(tags=["slow"]),
    "metadata holds collapsed": lambda b: b.cells[1].metadata.update(collapsed=True),
    "tagged hide-input but not folded": lambda b: b.cells[1].metadata.update(tags=["hide-input"]),
    "does not parse": lambda b: b.cells[2].update(source="if"),
    "the first cell is not a title": lambda b: b.cells[0].update(source="Tiny"),
    "lab.begin() is missing": lambda b: b.cells[1].update(source="x = 1"),
    "does not end with lab.finish()": lambda b: b.cells[-1].update(source="x"),
    "is tagged exercise but not called": lambda b: b.cells[2].metadata.update(tags=["exercise"]),
    "marks a SOLUTION": lambda b: b.cells[2].update(source="# SOLUTION\nx\n# END SOLUTION"),
    "execution count is 7, not 2": lambda b: b.cells[2].update(execution_count=7),
    "execution count is None, not 2": lambda b: b.cells[2].update(execution_count=None),
    "an error is stored: ValueError": lambda b: b.cells[2].update(outputs=[new_output("error", ename="ValueError")]),
    "stderr is stored: oh": lambda b: b.cells[2].update(outputs=[new_output("stream", name="stderr", text="oh")]),
    "a widget view is stored": lambda b: b.cells[2].update(outputs=[new_output("display_data", {WIDGET: {}})]),
    "a carriage return": lambda b: b.cells[2].update(outputs=[new_output("stream", text="1\r2")]),
    "names a place on": lambda b: b.cells[2].update(outputs=[new_output("stream", text="in " + "/" + "home/ann/x")]),
    "MB; must be less than 2 MB": lambda b: b.cells[2].update(outputs=[new_output("stream", text="x" * 2_000_000)]),
}


@pytest.mark.parametrize("message", BREAKS)
def test_checking_tells_what_is_wrong(message):
    book = stored()
    book.cells = [cell for cell in book.cells if cell.id != "empty"]
    normalise(book)
    assert problems(book, "90_tiny.ipynb") == []
    BREAKS[message](book)
    found = problems(book, "90_tiny.ipynb")
    assert any(message in line and line.startswith("90_tiny.ipynb") for line in found), found


@pytest.fixture
def exercises(tmp_path):
    with series.known(tmp_path):
        yield


EXERCISE_BREAKS = {
    "there is no check-90-1 after it": lambda c: c.pop("check-90-1"),
    "there is no answer-90-1 before it": lambda c: c.pop("answer-90-1"),
    "there is no exercise-90-1-text before it": lambda c: c.pop("exercise-90-1-text"),
    "has no lines # SOLUTION": lambda c: c["answer-90-1"].update(source="def double(x): return x"),
    "lacks the tag check": lambda c: c["check-90-1"].metadata.clear(),
    "is not `# NBVAL_CHECK_OUTPUT` and checks.NAME": lambda c: c["check-90-1"].update(
        source="checks.double_90(double)"
    ),
    "checks.half_90 is not the check of exercise 90.1": lambda c: c["check-90-1"].update(
        source="# NBVAL_CHECK_OUTPUT\nchecks.half_90(double)"
    ),
    "does not begin with `### Exercise 90.1": lambda c: c["exercise-90-1-text"].update(source="### Exercise 9"),
    "has no hint": lambda c: c["exercise-90-1-text"].update(source="### Exercise 90.1 · double"),
    "the stored output is not the one line 'passed 90.1: double'": lambda c: c["check-90-1"].update(outputs=[]),
}


@pytest.mark.parametrize("message", EXERCISE_BREAKS)
def test_checking_tells_what_is_wrong_with_an_exercise(message, exercises):
    book = series.book()
    for number, title in series.TITLES.items():
        cell = next(c for c in book.cells if c.id == f"check-{number.replace('.', '-')}")
        cell.outputs = [new_output("stream", text=f"passed {number}: {title}\n")]
    normalise(book)
    assert problems(book, "90_tiny.ipynb") == []
    cells = {cell.id: cell for cell in book.cells}
    EXERCISE_BREAKS[message](cells)
    book.cells = list(cells.values())
    found = problems(book, "90_tiny.ipynb")
    assert any(message in line for line in found), found


# ------------------------------------------------------------------------------------------------- running and storing


def plain(*sources: str) -> nbformat.NotebookNode:
    """A notebook that imports nothing, so that it runs in a second."""
    return nbformat.v4.new_notebook(cells=[series.code(f"cell-{k}", text) for k, text in enumerate(sources)])


def test_find_by_number_name_and_path(tmp_path):
    for name in ("00_a", "03_b", "10_c"):
        nbformat.write(plain("1"), tmp_path / f"{name}.ipynb")
    (tmp_path / "notes.ipynb").write_text("{}")
    stems = [path.stem for path in find(folder=tmp_path)]
    assert stems == ["00_a", "03_b", "10_c"]
    assert [p.stem for p in find(["3", "00", "10_c", str(tmp_path / "03_b.ipynb")], tmp_path)] == [
        "03_b", "00_a", "10_c", "03_b",
    ]  # fmt: skip
    with pytest.raises(LabError, match="there is no notebook '4'; there are 00_a, 03_b, 10_c"):
        find(["4"], tmp_path)
    with pytest.raises(LabError, match="cannot be read as a notebook"):
        read(tmp_path / "notes.txt")


def test_running_stores_what_ran_clean_and_leaves_the_rest(tmp_path):
    """One good notebook and the ways to fail, by the function behind the command."""
    good = plain(
        "import os, sys\nx = 20 + 1\nx * 2", "print('a'); print('inline' in os.environ.get('MPLBACKEND', 'inline'))"
    )
    cases = {
        "00_good": good,
        "01_error": plain("x = 1", "1 / 0"),
        "02_stderr": plain("import warnings; warnings.warn('careful')"),
        "03_place": plain("print('/' + 'home/ann/secret')"),
    }
    for name, book in cases.items():
        nbformat.write(book, tmp_path / f"{name}.ipynb")
    before = {name: (tmp_path / f"{name}.ipynb").read_bytes() for name in cases}
    said: list[str] = []
    with pytest.raises(LabError) as refused:
        notebooks.run(find(folder=tmp_path), 60, said.append)
    text = str(refused.value)
    assert "01_error.ipynb, cell cell-1: " in text and "ZeroDivisionError" in text
    assert "02_stderr.ipynb, cell cell-0: wrote to stderr" in text and "careful" in text
    assert "03_place.ipynb, cell cell-0: names a place" in text and "00_good" not in text
    assert re.fullmatch(r" 1/4 00_good +\d+\.\d s +0\.00 MB", said[0]) and said[1].endswith("failed")
    book = read(tmp_path / "00_good.ipynb")
    assert book.cells[0].outputs[0].data["text/plain"] == "42" and book.cells[1].outputs[0].text == "a\nTrue\n"
    assert [cell.execution_count for cell in book.cells] == [1, 2]
    for name in ("01_error", "02_stderr", "03_place"):
        assert (tmp_path / f"{name}.ipynb").read_bytes() == before[name]
    assert not list(tmp_path.glob(".*"))


def test_a_cell_that_hangs_or_kills_the_kernel_is_named():
    with pytest.raises(LabError, match=r"x\.ipynb, cell cell-0: still running after 2 s"):
        execute(plain("while True: pass"), "x.ipynb", ROOT, timeout=2)
    with pytest.raises(LabError, match=r"x\.ipynb, cell cell-0: the kernel died"):
        execute(plain("import os; os._exit(1)"), "x.ipynb", ROOT, timeout=20)


def test_failures_are_no_concern_where_they_are_asked_for():
    done = execute(plain("1 / 0", "print(2)"), "x.ipynb", ROOT, strict=False)
    assert done.book.cells[0].outputs[0].ename == "ZeroDivisionError" and done.book.cells[1].outputs[0].text == "2\n"
    assert issubclass(CellFailed, LabError)


def test_check_command_is_one_list_of_everything(tmp_path, monkeypatch, capsys):
    book = stored()
    normalise(book)
    nbformat.write(book, tmp_path / "90_fine.ipynb")
    nbformat.write(plain("1"), tmp_path / "91_bad.ipynb")
    monkeypatch.setattr(notebooks, "FOLDER", tmp_path)
    assert main(["notebooks", "--check", "90"]) == 0
    assert capsys.readouterr().out.split() == ["90_fine", "complete"]
    assert main(["notebooks", "--check"]) == 2
    shown = capsys.readouterr()
    assert "91_bad" in shown.out and "91_bad.ipynb, cell cell-0: execution count is None" in shown.err
    assert main(["notebooks", "4"]) == 2
    assert capsys.readouterr().err.startswith("error: there is no notebook '4'")
