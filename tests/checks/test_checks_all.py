"""Every exercise of every notebook: its cells, its solution, and what is printed while the answer is missing."""

import re

import pytest
from exercises import accepted, answer, cell, cells

from labutils import checks
from labutils.teach.notebooks import check_call, find

NUMBERS = list(checks.EXERCISES)
LETTERS = "8.1"  # wants letters, to which a function that is not written yet is a wrong answer
each = pytest.mark.parametrize("number", NUMBERS)


@pytest.mark.parametrize("kind", ["answer", "check"])
def test_the_notebooks_hold_the_exercises_that_have_checks(kind):
    ids = [key for path in find() for key in cells(int(path.name[:2]))]
    found = [key.removeprefix(f"{kind}-").replace("-", ".") for key in ids if re.fullmatch(rf"{kind}-\d+-\d+", key)]
    assert sorted(found) == sorted(NUMBERS)


@each
def test_the_check_cell_hands_the_answer_to_its_check(number):
    source = cell("check", number).source
    assert source.startswith("# NBVAL_CHECK_OUTPUT\n")
    call = check_call(source)
    assert call is not None and len(call.args) == 1 and not call.keywords
    assert getattr(checks, call.func.attr) is checks.EXERCISES[number]
    assert call.args[0].id == ("honest" if number == LETTERS else call.func.attr)


@each
def test_the_notebooks_solution_passes(number):
    accepted(checks.EXERCISES[number], answer(number))


@each
def test_passing_prints_one_line(number, capsys, monkeypatch):
    check = checks.EXERCISES[number]
    monkeypatch.delenv("LAB_CHECK_SEED", raising=False)
    check(answer(number))
    monkeypatch.setenv("LAB_CHECK_SEED", "7")
    check(answer(number))
    assert capsys.readouterr().out == f"passed {number}: {check.title}\n" * 2


@each
def test_a_missing_answer_is_to_do(number, capsys):
    def unwritten(*args, **kwargs):
        raise NotImplementedError(f"exercise {number}")

    check = checks.EXERCISES[number]
    for missing in [None] if number == LETTERS else [None, unwritten]:
        check(missing)
        assert capsys.readouterr().out == f"to do {number}: {check.title}\n"
