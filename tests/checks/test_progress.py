"""The state of a learner's exercises, as ``python -m labutils check`` tells it."""

import json
import re
from pathlib import Path

import pytest
from exercises import cell
from refusals import refuses

from labutils.__main__ import main
from labutils.checks import EXERCISES
from labutils.checks.progress import Book, find, read, verdicts
from labutils.teach import notebooks
from labutils.teach.student import edition


def checked(number: str) -> str:
    return cell("check", number).source


def written(path: Path, *sources: str) -> Path:
    """A notebook with these code cells, without ids."""
    cells = [{"cell_type": "code", "metadata": {}, "source": text.splitlines(True)} for text in sources]
    path.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": "# My notebook"}, *cells]}))
    return path


def judged(tmp_path: Path, number: str, *sources: str) -> tuple[str, str]:
    """The verdict on one exercise, whose check comes last, in this process."""
    found = Book(read(written(tmp_path / "mine.ipynb", *sources, checked(number)))).judge(number)
    return found.verdict, found.why


IMPORT = "import torch\nfrom labutils import checks, lab\nraise RuntimeError('the set-up is broken')"
DRAW = "def reparameterize(mu, logvar, eps):\n    return mu + sigma(logvar) * eps"
SIGMA = "def sigma(logvar):\n    return torch.exp(logvar / 2)"
LETTER = "honest = 'c'"


@pytest.mark.parametrize(
    "number, sources, verdict, why",
    [
        ("3.1", [IMPORT, SIGMA, "model = lab.trained('missing')", DRAW], "passed", ""),
        ("3.1", [IMPORT, DRAW, "sigma = None", SIGMA], "passed", ""),  # the last one counts, where it is called
        ("3.1", [IMPORT, f"%%time\n!ls\n{SIGMA}", "torch?", DRAW], "passed", ""),
        ("3.1", [IMPORT, DRAW], "failed", "NameError: name 'sigma' is not defined; it happened in line 2 of reparam"),
        ("3.1", [IMPORT, DRAW, SIGMA.replace("/ 2", "")], "failed", "exp(logvar) is the variance; sigma is its"),
        ("3.1", [IMPORT, DRAW.replace("return", "retrun")], "failed", "line 2 of its cell is no Python: "),
        ("3.1", [IMPORT, f"{DRAW}\nreturn 3"], "failed", "line 3 of its cell is no Python: "),
        ("3.1", [IMPORT, "reparameterize = torch.nothing"], "failed", "AttributeError: module 'torch' has no"),
        ("3.1", [IMPORT, "from labutils.modules import *"], "passed", ""),
        ("3.1", [IMPORT], "to do", "no cell above its check defines reparameterize"),
        ("3.1", [IMPORT, "def reparameterize(*x):\n    raise NotImplementedError('exercise 3.1')"], "to do", ""),
        ("8.1", ["honest = lab.trained('missing')", LETTER], "passed", ""),
        ("8.1", [LETTER, "if True:\n    honest = 'b'"], "failed", "snippet b: follow"),
        ("8.1", ["honest = list('bc')\nhonest[0] = 'c'"], "passed", ""),
        ("8.1", ["honest = 'c'", "honest += 'b'"], "failed", "snippet b: follow"),
        ("8.1", ["honest = None"], "to do", ""),
        ("8.1", ["exit()\nhonest = 'c'"], "passed", ""),
        ("8.1", ["honest = exit()"], "failed", "SystemExit: None, in line 1 of cell number 1"),
    ],
)
def test_only_what_an_answer_needs_is_run(tmp_path, number, sources, verdict, why):
    found = judged(tmp_path, number, *sources)
    assert found[0] == verdict and found[1].startswith(why) and len(found[1].splitlines()) <= 1, found


def test_a_notebook_without_the_check_cell(tmp_path):
    path = written(tmp_path / "10_further.ipynb", checked("3.1"))
    book = Book(read(path))
    assert book.judge("10.2").why == "this notebook has no cell that checks it"
    assert [found.number for _, found in verdicts([path], 60)] == ["3.1", "10.1", "10.2", "10.3"]


@pytest.mark.slow
def test_all_solutions_are_passed_and_the_student_edition_is_to_do(tmp_path, capsys):
    paths = []
    for path in notebooks.find():
        paths.append(tmp_path / path.name)
        notebooks.write(paths[-1], edition(notebooks.read(path)))
    assert main(["check"]) == 0
    solved = capsys.readouterr().out
    assert main(["check", *map(str, paths)]) == 0
    missing = capsys.readouterr().out
    for text, verdict, counts in ((solved, "passed", "{} passed, 0 to do, 0 failed"),
                                  (missing, "to do", "0 passed, {} to do, 0 failed")):  # fmt: skip
        rows = re.findall(rf"^ +(\d+\.\d+)  {verdict} +(.+)$", text, re.M)
        assert dict(rows) == {number: check.title for number, check in EXERCISES.items()}
        assert text.splitlines()[-1] == counts.format(len(EXERCISES))


@pytest.mark.slow
def test_an_answer_that_hangs_or_ends_the_process_costs_only_itself(tmp_path, capfd):
    hangs = "def mean_and_error(values):\n    while True:\n        pass"
    path = written(tmp_path / "mine.ipynb", LETTER, checked("8.1"), hangs, checked("8.2"),
                   "import os\ndef paired(a, b):\n    os._exit(0)", checked("8.3"),
                   "def smooth(y, window):\n    print('noise')\n    return y", checked("8.4"))  # fmt: skip
    assert main(["check", str(path), "--timeout", "3"]) == 1
    text = capfd.readouterr().out
    assert re.findall(r"8\.\d  (\w+)", text) == ["passed", "failed", "failed", "failed"]
    assert "still running after 3 s" in text and "ends the process" in text and "noise" not in text
    assert text.endswith("1 passed, 0 to do, 3 failed\n")


def test_notebooks_are_found_by_number_name_and_path(tmp_path):
    names = [path.name for path in find()]
    assert [path.name for path in find(["3", "02_modules"])] == [names[3], names[2]]
    mine = written(tmp_path / "mine.ipynb")
    assert find([str(mine)]) == [mine]
    refuses("no notebook '77'; there are 00_start", find, ["77"])
    mine.write_text("{}")
    refuses("cannot be read as a notebook: KeyError", read, mine)
