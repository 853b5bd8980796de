"""The report and the archive: what is graded stands in it, words are kept, and a placeholder is never handed in."""

import base64
import io
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from labutils import show
from labutils.__main__ import main
from labutils.checkpoint import write_history
from labutils.config import LabConfig
from labutils.errors import LabError
from labutils.handin import archive_name, grading, objections
from labutils.handin.evidence import Picture, find_runs
from labutils.handin.page import find_browser
from labutils.handin.sections import SECTIONS, TODO
from labutils.report import Report, SequenceReport
from labutils.schedules import KLAnnealing
from labutils.teach.notebooks import read
from labutils.teach.submissions import collect, submissions

ROOT = Path(__file__).resolve().parents[2]
# What the assignment grades: report 50 and 5 extra, demo 50.
ITEMS = {"Introduction": "5", "Training protocol": "10", "Reparameterization": "5", "Teacher forcing": "5",
         "KL annealing": "5", "Teacher-forcing ratio and loss": "5", "Loss curves: monotonic, cyclical, none": "10",
         "PSNR per frame on validation": "5", "Derivation": "+5", "Demo: questions": "30",
         "Demo: prediction quality": "20"}  # fmt: skip
MODULE = """raise SystemExit("never run")
def reparameterize(mu, logvar, eps):
    return mu + (logvar / 2).exp() * eps  # <mine>
@staticmethod
def forcing_ratio(epoch):
    return 1.0
def annealed_beta(i, n):
    return min(1.0, 2 * i / n)
class Trainer:
    def step(self, batch):
        return "one step"
    def other(self):
        return "not asked for"
"""
NAME, ID = "Zoë 李/../<x>", "0123&456"


def rows(kind: str, steps: int = 20) -> list[dict]:
    beta = KLAnnealing(kind, cycles=4).values(steps)
    return [
        dict(step=i, epoch=i // 5, seconds=0.1 * i, loss=0.1 / (i + 1), mse=0.09 / (i + 1), kl=1.0, beta=float(beta[i]),
             tfr=max(0.0, 1 - 0.25 * (i // 5)), lr=1e-3, val_psnr=20.0 + i if i % 10 == 9 else None)
        for i in range(steps)
    ]  # fmt: skip


def a_run(folder: Path, kind: str = "None", steps: int = 20, **settings) -> Path:
    folder.mkdir(parents=True)
    write_history(folder / "history.csv", rows(kind, steps))
    config = LabConfig(kl_anneal_type=kind, save_root=str(folder), steps=steps, **settings).to_dict()
    torch.save({"state_dict": {"weight": torch.zeros(1)}, "config": config}, folder / "last.ckpt")
    return folder


@pytest.fixture
def drawn() -> None:
    """A test that asks for it gets true figures and a true PDF, which take seconds."""


@pytest.fixture(autouse=True)
def undrawn(request, monkeypatch):
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("labutils.handin.page.find_browser", lambda: None)
        monkeypatch.setattr("labutils.handin.evidence._picture", lambda figure, caption: Picture(b"png", caption))


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A project's folder with all that a report shows: a run in ``run``, three runs in outputs, notebooks, a module."""
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    monkeypatch.delenv("LAB_MODULE", raising=False)
    monkeypatch.chdir(tmp_path)
    root = a_run(tmp_path / "run")
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (12, 32, 64, 3), np.uint8)
    known = SequenceReport("0", video, 20 + rng.random(11), rng.random(11), {"copy_first": np.full(11, 15.0)})
    for part in ("val", "test"):
        Report([known]).save(root / part / "psnr.json")
    show.write_gif(root / "val/prediction.gif", {"prediction": video, "pose": video})
    (root / "test/submission.csv").write_text("id,0\n")
    for kind in ("Monotonic", "Cyclical", "None"):
        a_run(tmp_path / "outputs/notebooks/smoke" / kind.lower(), kind)
    (tmp_path / "notebooks").mkdir()
    for book in sorted((ROOT / "notebooks").glob("*.ipynb"))[:2]:
        shutil.copy(book, tmp_path / "notebooks")
    (tmp_path / "notebooks/my_cvae.py").write_text(MODULE)
    return tmp_path


def report(*flags: str, name: str = NAME) -> str:
    assert main(["report", "--save_root", "run", "--name", name, "--student_id", ID, *flags]) == 0
    return Path("run/report.html").read_text()


def write_words(words: str = "Mine: $z$.") -> None:
    path = Path("run/report.md")
    path.write_text(path.read_text().replace(TODO, words))


def finished() -> None:
    """A report in which nothing is missing."""
    report()
    write_words()
    report()
    Path("run/report.pdf").write_bytes(b"%PDF-1.7")


def refused(capsys, *flags: str) -> list[str]:
    """What ``pack`` objects to; it has written nothing."""
    capsys.readouterr()
    assert main(["pack", "--save_root", "run", "--name", NAME, "--student_id", ID, *flags]) == 2
    assert not list(Path().rglob("*.zip"))
    head, *lines = capsys.readouterr().err.splitlines()
    assert head == "error: nothing was packed:" and all(line.startswith("- ") for line in lines)
    return lines


# ------------------------------------------------------------------------------------------------------- the report


def test_the_report_lists_each_grading_item_with_its_points_and_has_a_section_for_it(home):
    page = report()
    found = re.findall(r"<tr><td>(.*?)</td><td class='number'>(.*?)</td><td>(.*?)</td></tr>", page)
    assert {item: points for item, points, _ in found} == ITEMS
    anchors = [re.search(r'href="#(.*?)"', place) for *_, place in found]
    assert sum(a is None for a in anchors) == 1  # the questions, asked in person
    assert all(page.count(f'id="{a[1]}"') == 1 for a in anchors if a)
    assert {line.split("|")[1].strip() for line in grading().splitlines()[2:]} == {s.title for s in SECTIONS}


def test_figures_and_code_come_from_the_learners_own_runs_and_module(home, capsys):
    page = report()
    assert "outputs/notebooks/smoke/cyclical" in capsys.readouterr().out
    assert page.count("<img ") == 6  # still, loss, beta, teacher forcing, three losses, PSNR per frame
    text = re.sub(r"<[^>]+>", "", page)
    assert "all but frame 1 predicted" in text and "20 steps, 4 epochs" in text and "100 %" not in text
    for code in ("def reparameterize", "# &lt;mine&gt;", "@staticmethod", "def annealed_beta", "one step"):
        assert code in text
    assert "no code" not in text.lower()
    write_words("code: Trainer.step, annealed_beta")  # the same in each section
    assert (
        "not asked for" not in report() and Path("run/report.html").read_text().count("one step") == len(SECTIONS) - 1
    )


def test_words_survive_a_second_run_and_what_was_removed_comes_back(home):
    report()
    path = Path("run/report.md")
    mine = path.read_text().replace(TODO, "My *first* words & $\\mu$ <script>.\n\n## Not a section\n", 1)
    path.write_bytes(mine.replace("\n", "\r\n").encode())
    page = report()
    assert path.read_bytes().decode() == mine.replace("\n", "\r\n")
    assert "My <em>first</em> words &amp; <math" in page and "&lt;script&gt;" in page and "Not a section</h4>" in page
    path.write_text(mine.replace("## Derivation", "## Something else"))
    report()
    assert path.read_text().startswith(mine.split("## Derivation")[0]) and path.read_text().count("## Derivation") == 1


def test_names_are_escaped_and_words_bring_no_script(home):
    report()
    write_words("[x](javascript:alert(1)) <img src=x onerror=alert(1)>\n\n```mermaid\n<script>alert(1)</script>\n```")
    page = report(name='"><script>alert(1)</script>')
    assert "<script" not in page and 'href="javascript' not in page and "<img src=x" not in page
    assert "&quot;&gt;&lt;script&gt;alert(1)" in page and "0123&amp;456" in page


def test_pictures_in_the_words_become_part_of_the_page(home, capsys):
    report()
    write_words("![mine](mine.png)")
    assert main(["report", "--save_root", "run", "--name", NAME, "--student_id", ID]) == 2
    assert "mine.png, which is no picture" in capsys.readouterr().err
    Path("run/mine.png").write_bytes(b"png")
    assert '<img alt="mine" src="data:image/png;base64,cG5n">' in report()


def test_the_code_is_of_the_module_that_the_checks_write(home, monkeypatch):
    Path("notebooks/my_cvae.py").rename("elsewhere.py")
    assert "no code of your own" in report()
    monkeypatch.setenv("LAB_MODULE", "elsewhere.py")
    assert "no code of your own" not in report()


def test_what_is_missing_is_a_placeholder_that_names_the_command(home):
    shutil.rmtree("run")
    shutil.rmtree("outputs")
    Path("run").mkdir()
    Path("notebooks/my_cvae.py").unlink()
    page = report()
    assert "<img" not in page and page.count('class="todo"') == len(SECTIONS) + 11  # 7 figures or tables, 4 times code
    for command in ("train --DR DATA", "validate", "test", "train --DR DATA --kl_anneal_type Cyclical"):
        assert f"python -m labutils {command}" in page
    assert "write notebooks/my_cvae.py" in page


@pytest.mark.parametrize(
    "file, text, message",
    [
        ("run/val/psnr.json", '{"sequences": []}', "psnr.json cannot be read as the result"),
        ("notebooks/my_cvae.py", "def f(:", "my_cvae.py does not parse"),
        ("run/report.md", "## Derivation\n## derivation\n", "is there 2 times"),
        ("run/report.md", "## Derivation\ncode: nothing_such\n", "asks for the code of 'nothing_such'"),
        ("run/report.md", b"\xff", "report.md cannot be read as text"),
        ("run/history.csv", "a,b\n", "history.csv is no history"),
    ],
)
def test_what_is_damaged_is_named(home, capsys, file, text, message):
    Path(file).write_bytes(text if isinstance(text, bytes) else text.encode())
    assert main(["report", "--save_root", "run", "--name", NAME, "--student_id", ID]) == 2
    assert message in capsys.readouterr().err


def test_runs_that_are_compared_differ_in_annealing_only(home):
    outputs = Path("outputs")
    for kind in ("Monotonic", "Cyclical", "None"):
        a_run(outputs / f"long-{kind}", kind, 30, seed=1)
        a_run(outputs / f"wide-{kind}", kind, 60, width=8 if kind == "None" else 16)  # no set: the width differs too
        a_run(outputs / "previous-1" / kind, kind, 90)
    runs, sets = find_runs(outputs)
    assert {kind: folder.name for kind, (folder, _) in runs.items()} == {k: f"long-{k}" for k in runs} and sets == 2


def test_annealing_is_told_from_beta_and_each_kind_is_given_once(home, capsys):
    page = report("--annealing", "outputs/notebooks/smoke/cyclical", "outputs/notebooks/smoke/none")
    assert "No run with KL annealing Monotonic yet" in page and "Losses of the three kinds" in page
    folders = ["outputs/notebooks/smoke/none", "run"]
    flags = ["report", "--save_root", "run", "--name", NAME, "--student_id", ID, "--annealing", *folders]
    assert main(flags) == 2 and "both have KL annealing None" in capsys.readouterr().err


def test_figures_are_pictures_and_chromium_prints_them_where_it_is(home, capsys, drawn):
    pictures = re.findall(r'src="data:image/png;base64,(.*?)"', report())
    for data in pictures:
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            assert min(picture.size) > 300 and len(picture.convert("L").histogram()) > 1
    if not find_browser():
        pytest.skip("no chromium found; set CHROMIUM to its path")
    assert Path("run/report.pdf").read_bytes().startswith(b"%PDF-") and "report.pdf in run" in capsys.readouterr().out
    assert not list(Path("run").glob(".*"))


def test_without_chromium_the_browser_prints(home, capsys, monkeypatch):
    report()
    assert "print it to run/report.pdf" in capsys.readouterr().out and not Path("run/report.pdf").exists()
    monkeypatch.setattr("labutils.handin.page.find_browser", lambda: shutil.which("false"))
    report()
    assert "false failed" in capsys.readouterr().out and not Path("run/report.pdf").exists()


# ------------------------------------------------------------------------------------------------------ the archive


def test_the_archive_holds_what_the_assignment_asks_for_and_grade_finds_the_answers(home, tmp_path, capsys):
    finished()
    assert main(["pack", "--save_root", "run", "--name", NAME, "--student_id", ID]) == 0
    (path,) = Path("run").glob("*.zip")
    assert path.name == "LAB4_0123_456_Zoë_李_x.zip" and f"{path}: report.pdf, 2 notebooks" in capsys.readouterr().out
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        assert archive.testzip() is None and archive.read("report.pdf") == b"%PDF-1.7"
        assert archive.read("source/notebooks/my_cvae.py").decode() == MODULE
        archive.extractall(tmp_path / "handed/in")
    assert {"submission.csv", "source/notebooks/00_start_here.ipynb", "source/labutils/model.py"} <= set(names)
    inside = "\n".join(names)
    assert not re.search(r"__pycache__|\.ckpt|labutils/teach|labutils/bench|^/|\.\.", inside, re.M)
    stubs = {
        "0.1": ("00_start_here.ipynb", "stub", ""),
        "1.2": ("01_data.ipynb", "stub", ""),
        "9.1": ("09.ipynb", "stub", ""),
    }
    for place in (path, tmp_path / "handed/in"):
        assert submissions(place) == [place]
        found = collect(place, stubs)
        assert set(found.answers) == {"0.1", "1.2"} and found.verdicts == {"9.1": "missing"}
    assert submissions(tmp_path / "handed") == [tmp_path / "handed/in"]


def test_a_placeholder_is_not_packed(home, capsys):
    assert "run/report.md is missing" in refused(capsys)[0]
    report()
    assert sum("still waits for your words" in line for line in refused(capsys)) == len(SECTIONS)
    write_words()
    assert "report.md was changed after" in "\n".join(refused(capsys))
    shutil.rmtree("run/val")
    report()
    lines = refused(capsys)
    assert (
        len(lines) == 3 and lines[0].startswith("- run/report.html, Introduction: no still") and "validate" in lines[1]
    )
    assert "run/report.pdf is missing" in lines[2]


def test_a_report_that_is_old_foreign_or_no_pdf_is_not_packed(home, capsys):
    finished()
    assert objections(Path("run"), NAME, ID) == []
    assert "not by A. Other" in objections(Path("run"), "A. Other", ID)[0]
    Path("run/report.pdf").write_bytes(b"<html>")
    assert "run/report.pdf is no PDF" in refused(capsys)[0]
    finished()
    report()
    assert "report.pdf is older" in refused(capsys)[0]
    Path("run/report.md").write_text(Path("run/report.md").read_text() + "\nTODO: the second term\n")
    assert "'## Derivation' still waits" in refused(capsys)[0]
    assert "run holds no notebooks" in refused(capsys, "--notebooks", "run")[-1]
    assert "elsewhere.pdf is missing" in refused(capsys, "--report", "elsewhere.pdf")[0]


def test_a_report_of_ones_own_and_no_derivation_are_packed(home):
    Path("mine.pdf").write_bytes(b"%PDF-1.4")
    assert main(["pack", "--save_root", "run", "--name", "Ada", "--student_id", "7", "--report", "mine.pdf"]) == 0
    with zipfile.ZipFile("run/LAB4_7_Ada.zip") as archive:
        assert archive.read("report.pdf") == b"%PDF-1.4"
    report()
    path = Path("run/report.md")
    head, _, rest = path.read_text().partition("## Derivation")
    path.write_text(head.replace(TODO, "Mine.") + "## Derivation" + rest.replace(TODO, ""))
    page = report()
    assert 'id="derivation"' not in page and 'class="todo"' not in page
    Path("run/report.pdf").write_bytes(b"%PDF-1.7")
    assert objections(Path("run"), NAME, ID) == []


@pytest.mark.parametrize(
    "name, safe",
    [
        ("Ada Lovelace", "Ada_Lovelace"),
        ("  J. R. O'Neill-Smith ", "J_R_O_Neill-Smith"),
        ("王小明", "王小明"),
        ("प्रिया शर्मा", "प्रिया_शर्मा"),  # vowel signs are marks, not letters
        ("Zoe\u0308", "Zoë"),
        ("\u202eخالد\u200f", "خالد"),  # no marks that turn the direction of what follows
        ("..\\..\\CON:*?", "CON"),
        ("🙂x\n", "x"),
    ],
)
def test_names_of_any_script_make_a_safe_file_name(name, safe):
    assert archive_name("12 34", name) == f"LAB4_12_34_{safe}.zip"


@pytest.mark.parametrize("student_id, name", [("1", " / "), ("../..", "Ada"), ("1", "x" * 300)])
def test_names_that_cannot_be_a_file_name_are_refused(student_id, name):
    with pytest.raises(LabError, match=r"--(name|student_id)"):
        archive_name(student_id, name)


# ---------------------------------------------------------------------------------------------------------- the quiz


def test_each_question_of_the_quiz_has_one_right_answer_and_reasons():
    """In a text cell, of nothing but what unfolds: no kernel, no script, and JupyterLab's filter lets it through."""
    (text,) = (cell.source for cell in read(ROOT / "notebooks/09_test_and_hand_in.ipynb").cells if cell.id == "demo")
    assert set(re.findall(r"<(\w+)", text)) == {"details", "summary"}
    questions = re.split(r"^#### ", text, flags=re.M)[1:]
    answers = [re.findall(r"<summary>(\w)\) .+</summary>\n\n([✓✗]) \*\*\w+\.\*\* .{20}", q) for q in questions]
    right = ["".join(letter for letter, mark in each if mark == "✓") for each in answers]
    assert len(questions) >= 8 and [q.count("<details>") for q in questions] == [len(each) for each in answers]
    assert all(3 <= len(each) <= 4 for each in answers) and set(right) == set("abc")
