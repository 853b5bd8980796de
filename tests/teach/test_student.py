"""The student edition: what it holds, what it does not, and that it runs."""

import os
import re
import subprocess
import sys

import nbformat
import pytest
import series
from refusals import refuses
from series import project_here  # noqa: F401, a fixture

from labutils.__main__ import main
from labutils.teach import notebooks
from labutils.teach.student import edition, try_student, without_solution, write_student


@pytest.mark.parametrize(
    "source, left",
    [
        (
            "def f(x):\n    if x:\n        # SOLUTION\n        return 1\n        # END SOLUTION\n    return 2\n",
            'def f(x):\n    if x:\n        raise NotImplementedError("exercise 3.1")\n    return 2\n',
        ),
        (
            "# SOLUTION: a = None\na = 3\n# END SOLUTION\nb = 4\n# SOLUTION: c = 0  # a number\nc = 5\n# END SOLUTION",
            "a = None\nb = 4\nc = 0  # a number",
        ),
    ],
    ids=["to do", "what takes its place"],
)
def test_a_solution_is_replaced_where_it_stood(source, left):
    assert without_solution(source, "3.1") == left


@pytest.mark.parametrize(
    "source", ["# SOLUTION\nx = 1", "x = 1\n# END SOLUTION", "# SOLUTION\n# SOLUTION\nx\n# END SOLUTION"]
)
def test_a_solution_that_is_not_closed_is_refused(source):
    refuses(r"exercise 3\.1", without_solution, source, "3.1")


def test_student_edition_holds_no_solution_and_no_output():
    source = series.book(series.code("more", "1 + 1"))
    source.cells[1].outputs = [nbformat.v4.new_output("stream", text="profile smoke")]
    book = edition(source)
    text = nbformat.writes(book)
    assert "SOLUTION" not in text and "return 2 * x" not in text and "profile smoke" not in text
    assert [cell.id for cell in book.cells] == [c.id for c in source.cells if not c.id.startswith("solution")]
    assert {cell.id: cell.source for cell in book.cells if cell.id.startswith("answer")} == {
        f"answer-{number.replace('.', '-')}": stub for number, stub in series.STUBS.items()
    }
    assert "SOLUTION" in nbformat.writes(source)  # the source itself is left alone


def test_student_cells_must_parse():
    bad = series.code("answer-90-4", "def f():\n# SOLUTION\n    return 1\n# END SOLUTION", "exercise")
    refuses("cell answer-90-4: does not parse", edition, series.book(bad))


def test_folder_to_hand_out_is_complete_and_made_anew(here, tmp_path, capsys):
    out = tmp_path / "student"
    assert main(["student", "--out", str(out)]) == 0
    assert "1 notebooks without solutions" in capsys.readouterr().out
    for name in ("pyproject.toml", "requirements.lock", "README.md", "LICENSE", "labutils/lab.py",
                 "labutils/checks/nb90.py", "labutils/widgets/scrubber.js", "notebooks/90_tiny.ipynb",
                 "notebooks/images/a.svg"):  # fmt: skip
        assert (out / name).is_file(), name
    for name in ("tests", "labutils/teach", "labutils/bench"):
        assert not (out / name).exists(), name
    assert not list(out.rglob("__pycache__")) and "SOLUTION" not in (out / "notebooks/90_tiny.ipynb").read_text()
    (out / "notebooks/old.ipynb").write_text("{}")
    write_student(out)
    assert not (out / "notebooks/old.ipynb").exists()


def test_what_is_handed_out_offers_what_it_can_do(here, tmp_path):
    """In its Makefile and among its commands; for an instructor's command one line says why it is not there."""
    write_student(tmp_path / "student")

    def shown(*command: str) -> str:
        environment = {**os.environ, "PYTHONPATH": "."}
        done = subprocess.run(command, cwd=tmp_path / "student", capture_output=True, text=True, env=environment)
        return done.stdout + done.stderr

    readme = (tmp_path / "student/README.md").read_text()
    assert "make student" not in readme and "instructor" not in readme
    for text, target in re.findall(r"(?<!!)\[([^\]]+)\]\(([^)#\s]+)\)", readme):
        assert "://" in target or (tmp_path / "student" / target).exists(), text
    help_ = shown("make", "--no-print-directory")
    assert re.findall(r"^  make (\w+)", help_, re.M) == ["help", "setup", "run", "lab", "lock", "clean"]
    assert "No rule to make target 'grade'" in shown("make", "grade")
    commands = shown(sys.executable, "-m", "labutils", "--help")
    assert re.findall(r"^  ([a-z-]+) {2,}", commands.split("commands:")[1], re.M) == [
        "run", "make-data", "stats", "train", "validate", "test", "report", "pack", "doctor",
        "check",
    ]  # fmt: skip
    assert shown(sys.executable, "-m", "labutils", "grade", "x") == (
        "error: the command grade is part of the instructor's edition; this is the student edition\n"
    )


@pytest.mark.parametrize("argv", [["--out", "{tmp}"], ["--out", "{tmp}/a.txt"]])
def test_student_edition_replaces_nothing_else(here, tmp_path, capsys, argv):
    (tmp_path / "a.txt").write_text("mine")
    assert main(["student", *(word.format(tmp=tmp_path) for word in argv)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and "no student edition" in err
    assert (tmp_path / "a.txt").read_text() == "mine"


def test_student_edition_of_a_student_edition_is_refused(here, tmp_path, monkeypatch):
    write_student(tmp_path / "student")
    monkeypatch.setattr(notebooks, "FOLDER", tmp_path / "student" / "notebooks")
    refuses("hold no solutions", write_student, tmp_path / "again")


@pytest.mark.slow
def test_student_edition_runs_and_says_to_do(here, tmp_path, capsys):
    try_student(write_student(tmp_path / "student"))
    assert "3 exercises to do" in capsys.readouterr().out


def test_trying_tells_of_a_check_that_says_something_else(tmp_path):
    paths = [tmp_path / "a.ipynb", tmp_path / "b.ipynb"]
    for path, text in zip(paths, ("print('passed')", "1 / 0")):
        nbformat.write(nbformat.v4.new_notebook(cells=[series.code("check-90-1", text, "check")]), path)
    refuses(r"says 'passed', not that it is to do(.|\n)*b\.ipynb, cell check-90-1: ", try_student, paths)
