"""Grading: what counts, and what a submission cannot do."""

import csv
import json
import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import psutil
import pytest
import series
from refusals import refuses
from series import project_here  # noqa: F401, a fixture

from labutils.__main__ import main
from labutils.teach import grading, submissions
from labutils.teach.grading import Limits
from labutils.teach.guard import token
from labutils.teach.student import edition
from labutils.teach.submissions import Submission, collect, neutral

ROOT = Path(__file__).resolve().parents[2]
STUBS = {number: ("90_tiny.ipynb", stub, "my.part") for number, stub in series.STUBS.items()}
RIGHT = {
    "90.1": "def double(x):\n    print('hello')\n    return x + x",
    "90.2": "def half(x):\n    return 0.5 * x",
    "90.3": "value = 42",
}


def submission(**answers: str) -> str:
    """A student's notebook as text; ``a1`` is the answer 90.1 …; what is not given is right."""
    book = edition(series.book())
    given = {f"answer-90-{key[1:]}": text for key, text in answers.items()}
    right = {f"answer-{number.replace('.', '-')}": text for number, text in RIGHT.items()}
    for cell in book.cells:
        cell.source = given.get(cell.id, right.get(cell.id, cell.source))
    return nbformat.writes(book)


# --------------------------------------------------------------------------------------------- reading a submission


def test_answers_are_found_by_id_in_any_file(tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work/renamed (1).ipynb").write_text(submission(a3="value = 7"))
    found = collect(tmp_path, STUBS)
    assert found.answers == {**RIGHT, "90.3": "value = 7"} and not found.verdicts and not found.remarks


def test_answers_are_found_where_colab_keeps_ids(tmp_path):
    book = json.loads(submission())
    for cell in book["cells"]:
        cell["metadata"]["id"] = cell.pop("id")
    book["nbformat_minor"] = 0
    (tmp_path / "a.ipynb").write_text(json.dumps(book))
    assert collect(tmp_path / "a.ipynb", STUBS).answers == RIGHT


def test_missing_untouched_and_double_answers(tmp_path):
    book = json.loads(submission(a1=STUBS["90.1"][1]))
    book["cells"] = [cell for cell in book["cells"] if cell["id"] != "answer-90-2"]
    again = next(cell for cell in book["cells"] if cell["id"] == "answer-90-3")
    book["cells"].append({**again, "source": ["value = 43"]})
    (tmp_path / "90_tiny.ipynb").write_text(json.dumps(book))
    found = collect(tmp_path, STUBS)
    assert found.verdicts == {"90.1": "to do", "90.2": "missing", "90.3": "2 different answers"}
    assert not found.answers


def test_an_untouched_copy_and_a_copy_by_another_name_do_not_count(tmp_path):
    (tmp_path / "90_tiny.ipynb").write_text(submission())
    (tmp_path / "90_tiny-Copy1.ipynb").write_text(submission(a1="def double(x): return 3 * x"))
    nbformat.write(edition(series.book()), tmp_path / "original.ipynb")
    assert collect(tmp_path, STUBS).answers == RIGHT


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b'{"cells": 3}', b'{"cells": [1]}', b'{"cells": [{"cell_type": "code", "id": "answer-90-1"}]}',
     b"\xff\xfe\x00", b"[" * 200_000, b'{"a": ' * 100_000],
    ids=["empty", "cut", "list", "number", "cell", "no source", "not utf-8", "deep", "deep dict"],
)  # fmt: skip
def test_what_is_no_notebook_is_remarked(tmp_path, data):
    (tmp_path / "90_tiny.ipynb").write_bytes(data)
    found = collect(tmp_path, STUBS)
    assert set(found.verdicts.values()) == {"missing"} and "90_tiny.ipynb is no notebook" in found.remarks[0]


def test_large_things_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(submissions, "MAX_BOOK", 20_000)
    monkeypatch.setattr(submissions, "MAX_ANSWER", 50)
    (tmp_path / "90_tiny.ipynb").write_text(submission(a1="x" * 30_000))
    found = collect(tmp_path, STUBS)
    assert "is larger than 0.02 MB" in found.remarks[0] and found.verdicts["90.2"] == "missing"
    (tmp_path / "90_tiny.ipynb").write_text(submission(a1="x = 1" + 60 * "\n#"))
    assert collect(tmp_path, STUBS).verdicts == {"90.1": "longer than 50 characters"}
    monkeypatch.setattr(submissions, "MAX_BOOKS", 1)
    (tmp_path / "b.ipynb").write_text(submission())
    assert any("more than 1 notebooks" in remark for remark in collect(tmp_path, STUBS).remarks)


def test_a_zip_is_read_without_being_unpacked(tmp_path):
    path = tmp_path / "LAB4_1_LEE.zip"
    link = zipfile.ZipInfo("link.ipynb")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("source/notebooks/90_tiny.ipynb", submission())
        archive.writestr("../../evil.ipynb", submission(a3="value = 1"))
        archive.writestr("/evil.ipynb", submission(a3="value = 2"))
        archive.writestr(link, "/etc/passwd")
        archive.writestr("__MACOSX/source/._90_tiny.ipynb", b"\x00\x05")
        archive.writestr("source/.ipynb_checkpoints/90_tiny-checkpoint.ipynb", submission(a3="value = 3"))
        archive.writestr("source/labutils/checks/core.py", "raise SystemExit")
    found = collect(path, STUBS)
    assert found.name == "LAB4_1_LEE" and found.answers == RIGHT
    assert sum("no safe member" in remark for remark in found.remarks) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["LAB4_1_LEE.zip"]


def test_a_zip_that_grows_or_is_broken(tmp_path, monkeypatch):
    monkeypatch.setattr(submissions, "MAX_BOOK", 100_000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("90_tiny.ipynb", b" " * 50_000_000)
    assert "is larger" in collect(tmp_path / "bomb.zip", STUBS).remarks[0]
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 and no more")
    assert "cannot be read" in collect(tmp_path / "broken.zip", STUBS).remarks[0]


def test_links_out_of_a_submission_are_not_followed(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/90_tiny.ipynb").write_text(submission())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/90_tiny.ipynb").symlink_to(tmp_path / "other/90_tiny.ipynb")
    (tmp_path / "mine/sub").symlink_to(tmp_path / "other")
    found = collect(tmp_path / "mine", STUBS)
    assert not found.answers and "is a link" in found.remarks[0]


def test_marks_for_nbval_and_magics_lose_their_meaning():
    source = "# NBVAL_SKIP\n  #  nbval_ignore_output\n%%capture\n!rm -rf x\nx = 1\nif x:\n    %time f()\nx?\n"
    clean = neutral(source)
    compile(clean, "answer", "exec")
    assert "NBVAL" not in clean.upper()
    assert [line for line in clean.splitlines() if line.split("#")[0].strip() not in ("", "pass")] == ["x = 1", "if x:"]
    assert neutral("text = '''\n%d %%\n!'''\n") == "text = '''\n%d %%\n!'''\n"  # what parses is left alone
    assert neutral("def f(:\n    pass") is None


def test_words_that_a_person_should_look_at_are_named(tmp_path):
    (tmp_path / "90_tiny.ipynb").write_text(submission(a1="from labutils import model\ndouble = model.double"))
    assert collect(tmp_path, STUBS).remarks == ["look at 90.1: it names labutils"]
    (tmp_path / "90_tiny.ipynb").write_text(submission(a1="double = my.part", a2="half = my.half"))
    assert collect(tmp_path, STUBS).remarks == ["look at 90.2: it names my.half"]  # our own answers name my.part


def test_submissions_at_a_place(tmp_path):
    for name in ("B_folder", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "a.zip").write_bytes(b"")
    (tmp_path / "c.ipynb").write_text(submission())
    (tmp_path / "notes.txt").write_text("")
    assert [p.name for p in submissions.submissions(tmp_path / "a.zip")] == ["a.zip"]
    assert submissions.submissions(tmp_path) == [tmp_path]  # notebooks right in it: one submission
    (tmp_path / "c.ipynb").rename(tmp_path / "B_folder" / "c.ipynb")
    assert [p.name for p in submissions.submissions(tmp_path)] == ["a.zip", "B_folder"]
    refuses("is missing", submissions.submissions, tmp_path / "none")
    refuses("no submissions", submissions.submissions, tmp_path / ".hidden")


# ---------------------------------------------------------------------------------------------- reading the report


def verdicts(tmp_path, cases: str, late: bool = False) -> dict[str, str]:
    report = tmp_path / "report.xml"
    report.write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>" if cases is not None else "<broken")
    cells = ["guard", "answer-90-1", "check-90-1", "answer-90-2", "check-90-2", "demo"]
    return grading.verdicts(report, cells, ["90.1", "90.2"], late)


def case(number: int, inside: str = "") -> str:
    return f'<testcase name="Cell {number}">{inside}</testcase>'


PASSED = [case(k) for k in range(6)]


def but(k: int, inside: str) -> str:
    return "".join(case(k, inside) if n == k else text for n, text in enumerate(PASSED))


@pytest.mark.parametrize(
    "cases, first, second",
    [
        ("".join(PASSED), "passed", "passed"),
        ("".join(PASSED[:3]), "passed", grading.STOPPED),
        ("".join(PASSED[:2] + PASSED[3:]), grading.STOPPED, grading.INCONCLUSIVE),
        (but(2, '<skipped type="pytest.skip"/>'), grading.STOPPED, grading.INCONCLUSIVE),
        (but(4, '<skipped type="pytest.xfail" message="x"/>'), "passed", grading.STOPPED),
        (but(2, "<error>boom</error>"), grading.STOPPED, grading.INCONCLUSIVE),
        (but(1, "<failure>Cell 1: Timeout of 5 seconds exceeded</failure>"), grading.STOPPED, grading.INCONCLUSIVE),
        (but(0, "<error>boom</error>"), grading.INCONCLUSIVE, grading.INCONCLUSIVE),
        (but(2, "<failure>Cell outputs differ\n to do 90.1: double</failure>"), "to do", "passed"),
        (but(4, "<failure>Traceback:\n  likely   off by one</failure>"), "passed", "wrong: off by one"),
        (but(5, "<failure>any</failure>"), "passed", "passed"),
        (PASSED[2] + but(2, "<failure/>"), "wrong", "passed"),
        ("", grading.STOPPED, grading.INCONCLUSIVE),
    ],
)
def test_only_what_passed_counts(tmp_path, cases, first, second):
    found = verdicts(tmp_path, cases)
    assert (found["90.1"] == "passed", found["90.2"] == "passed") == (first == "passed", second == "passed")
    if cases and "Cell 0" in cases:
        assert found == {"90.1": first, "90.2": second}


def test_no_report_is_no_pass(tmp_path):
    assert set(verdicts(tmp_path, None).values()) == {grading.INCONCLUSIVE}
    assert set(verdicts(tmp_path, None, late=True).values()) == {grading.OVER}


# ------------------------------------------------------------------------------------------------------- the whole way

PRINTS = """print("passed 90.1: double")
def double(x):
    print("passed 90.1: double")
    return x ** 2"""
OTHER_CHECKS = """class checks:
    half_90 = staticmethod(lambda f: print("passed 90.2: half"))
def half(x): return x"""
PATCHES = """import labutils.checks.core as core, labutils.checks as c, builtins
core.same = lambda *a, **k: True
core.Exercise.judge = lambda *a, **k: None
c.EXERCISES["90.3"].verify = lambda a, g: None
value = 41"""
REPLACES = """import torch, numpy
def double(x):
    numpy.allclose = lambda *a, **k: True
    return x"""
SKIPS = "# NBVAL_SKIP\n# NBVAL_RAISES_EXCEPTION\n%%capture\ndef half(x): return missing_name"


@pytest.mark.slow
def test_grading_end_to_end(here, tmp_path, capsys):
    """Honest students and cheats that need no time-out, by the command."""
    place = tmp_path / "in"
    for name, answers in {
        "a_right": {},
        "c_cheats": dict(a1=PRINTS, a2=OTHER_CHECKS, a3=PATCHES),
        "d_replaces": dict(a1=REPLACES, a2=SKIPS),
    }.items():
        (place / name).mkdir(parents=True)
        (place / name / "90_tiny.ipynb").write_text(submission(**answers))
    fake = place / "c_cheats" / "labutils" / "checks"  # a labutils of their own counts for nothing
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text("raise SystemExit")
    before = {p: p.read_bytes() for p in place.rglob("*.ipynb")}
    out = tmp_path / "out" / "grades.csv"
    assert main(["grade", str(place), "--out", str(out), "--seed", "5", "--jobs", "2"]) == 0
    said = capsys.readouterr().out
    assert "3 submissions, 3 exercises, check seed 5" in said and "warning" not in said
    rows = {row["student"]: row for row in csv.DictReader(out.open())}
    marks = {name: (row["90.1"], row["90.2"], row["90.3"], row["passed"]) for name, row in rows.items()}
    assert marks == {
        "a_right": ("1", "1", "1", "3"),
        "c_cheats": ("0", "0", "0", "0"),
        "d_replaces": ("0", "0", "1", "1"),  # judged again, without the answer that replaced something
    }, said
    assert "90.1 wrong: squared instead of doubled" in rows["c_cheats"]["why"]
    assert "90.2 wrong: NameError: name 'missing_name' is not defined" in rows["d_replaces"]["why"]
    assert f"90.1 {grading.TAMPERED}: numpy.allclose" in rows["d_replaces"]["why"]
    assert "look at 90.3: it names" in rows["c_cheats"]["remarks"]
    assert any(line.startswith("a_right") and "3 of 3" in line for line in said.splitlines())
    assert {p: p.read_bytes() for p in place.rglob("*.ipynb")} == before


@pytest.fixture
def tiny(here, tmp_path):
    """The tiny notebook as grading runs it, and a home for its data."""
    (tmp_path / "home").mkdir()
    return grading.books()[0], tmp_path / "home"


@pytest.mark.slow
def test_an_answer_that_kills_or_hangs_costs_only_itself(tiny):
    kills = (
        "import os, subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        "os._exit(0)"
    )
    hangs = "def half(x):\n    while True:\n        pass"
    before = set(psutil.pids())
    found = grading.judge(tiny[0], {**RIGHT, "90.1": kills, "90.2": hangs}, tiny[1], 1, Limits(cell=20, notebook=200))
    assert found == {"90.1": grading.STOPPED, "90.2": grading.STOPPED, "90.3": "passed"}
    left = [p for p in psutil.process_iter(["cmdline"]) if p.pid not in before]
    assert not [p for p in left if "time.sleep(600)" in " ".join(p.info["cmdline"] or ())]


@pytest.mark.slow
def test_an_answer_that_ends_pytest_itself_is_no_pass(tiny):
    answers = {"90.1": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)", "90.3": "value = 42"}
    found = grading.judge(tiny[0], answers, tiny[1], 1, Limits(30, 60))
    assert found == {"90.1": "ended the run", "90.3": "passed"}


def test_the_answers_see_nothing_of_our_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("SECRET_TOKEN", "x")
    seen = grading.environment(tmp_path, tmp_path / "home", 7, "id")
    assert "SECRET_TOKEN" not in seen and seen["LAB_PROFILE"] == "smoke" and seen["LAB_CHECK_SEED"] == "7"
    assert seen["HOME"] != os.environ["HOME"] and seen["LAB_HOME"] == str(tmp_path / "home")


def test_the_line_that_counts_cannot_be_known_in_advance():
    assert token("a", "3.1") != token("b", "3.1") != token("b", "3.2") and len(token("a", "3.1")) == 32


def test_the_table_holds_no_formula(tmp_path):
    grade = Submission("=cmd()", {}, {"90.1": "passed", "90.2": "wrong"}, ["+1"])
    grading.write_csv(tmp_path / "a" / "g.csv", [grade], ["90.1", "90.2"])
    rows = list(csv.reader((tmp_path / "a" / "g.csv").open()))
    assert rows == [
        ["student", "passed", "of", "90.1", "90.2", "why", "remarks"],
        ["'=cmd()", "1", "2", "1", "0", "90.2 wrong", "'+1"],
    ]


def test_guard_is_quiet_about_what_did_not_change():
    """In a process of its own: what the checks of the whole series import does not change while nothing is replaced."""
    code = (
        "import sys, pathlib, tempfile; from labutils.teach.guard import arm; d = pathlib.Path(tempfile.mkdtemp())\n"
        "for n in 'ab': (d / n).write_text('s')\n"
        "judge = arm(str(d / 'a'), str(d / 'b'), 1); assert not list(d.iterdir())\n"
        "from labutils.checks.core import EXERCISES; n = next(iter(EXERCISES)); judge(n, None)\n"
        "import torch; torch.Tensor.sum = None\n"
        "try: judge(n, None)\n"
        "except Exception as e: print(type(e).__name__, e)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith("to do ") and second == "Tampered torch.Tensor.sum"
