"""The tool that the exercises' checks are made with."""

import math

import numpy as np
import pytest
import torch
from exercises import refused

from labutils import checks
from labutils.checks import EXERCISES, CheckFailed, Exercise, NotDone, agree, call, compare, fail, require, same, show


def twice(x):
    return 2 * x


def absent(*args):
    raise NotImplementedError("exercise 99.1")


@pytest.fixture
def double():
    """An exercise, taken off the list at the end."""

    @checks.exercise("99.1", "double", twice, {"this is x squared": lambda x: x**2, "this is x": lambda x: x})
    def double(answer, g):
        """Twice the input."""
        agree("y", answer, twice, torch.randn(3, 4, generator=g))

    yield double
    del EXERCISES["99.1"]


# -------------------------------------------------------------------------------------------------------- an exercise


@pytest.mark.parametrize("answer", [twice, None, ..., absent])
def test_a_right_answer_prints_one_line_and_a_missing_one_is_to_do(double, answer, capsys):
    double(answer)
    assert capsys.readouterr().out == f"{'passed' if answer is twice else 'to do'} 99.1: double\n"
    assert double.__doc__ == "Twice the input." and EXERCISES["99.1"] is double


def test_a_wrong_answer_tells_what_came_and_why(double):
    failure = refused(double, lambda x: x**2)
    text = str(failure)
    assert text.splitlines()[0] == "99.1 double: not yet"
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["what", "expected", "got", "likely"]
    assert "this is x squared" in text and "shape (3, 4): [" in text
    assert failure._render_traceback_() == text.splitlines()
    assert failure.__suppress_context__  # no traceback into the check


def test_the_seed_changes_the_inputs_and_nothing_else(double, monkeypatch):
    seen = []

    def answer(x):
        seen.append((x, torch.rand(1)))
        return 2 * x

    torch.manual_seed(5)
    before = torch.get_rng_state()
    for seed in ("0", "0", "7"):
        monkeypatch.setenv("LAB_CHECK_SEED", seed)
        double(answer)
    assert torch.equal(seen[0][0], seen[1][0]) and not torch.equal(seen[0][0], seen[2][0])
    assert torch.equal(seen[0][1], seen[1][1]) and not torch.equal(seen[0][1], seen[2][1])
    assert torch.equal(torch.get_rng_state(), before)


def test_the_hint_is_the_mistake_that_gives_the_same_result(double, recwarn):
    assert refused(double.judge, lambda x: x * x).hint == "this is x squared"
    assert refused(double.judge, lambda x: x.clone(), seed=3).hint == "this is x"
    assert refused(double.judge, lambda x: -2 * x).hint == "the sign is wrong"  # no mistake: what the values tell
    assert refused(double.judge, lambda x: x**3).hint == ""
    assert not recwarn.list


MISTAKES = {
    "early": lambda x: x + 5,  # gives 8 at the second place, but fails before
    "late": lambda x: 2 * x + 2 * (x > 1),
    "drawn": lambda x: torch.rand(2),
    "nan": lambda x: x * torch.nan,
    "raises": lambda x: x[9],
    "float64": lambda x: 2 * x.double(),
}


@pytest.mark.parametrize(
    "answer, hint",
    [
        (lambda x: torch.where(x > 1, 8.0, 2.0), "late"),
        (lambda x: torch.rand(2), "drawn"),
        (lambda x: torch.full((2,), torch.nan), "nan"),
        (lambda x: x[9], "raises"),
        (lambda x: 2 * x.half(), "float64"),  # what is required has one cause, whatever came
        (lambda x: x[8], "it happened in line"),
    ],
)
def test_a_mistake_must_fail_at_the_same_place_with_the_same_result(answer, hint):
    def verify(answer, g):
        first = agree("first", answer, twice, torch.ones(2))
        require(first.dtype == torch.float32, "float32", str(first.dtype))
        agree("second", answer, twice, torch.full((2,), 3.0))

    assert refused(Exercise("99.2", "two places", verify, twice, MISTAKES).judge, answer, seed=7).hint.startswith(hint)


def test_a_mistake_may_be_the_reference_with_other_options():
    def scaled(x, by=2):
        return by * x

    try:
        check = checks.exercise("99.3", "scaled", scaled, {"3, not 2": dict(by=3)})(
            lambda answer, g: agree("y", answer, scaled, torch.ones(2))
        )
        assert refused(check.judge, lambda x: x + x + x).hint == "3, not 2"
    finally:
        del EXERCISES["99.3"]


def test_two_exercises_of_one_number_are_refused(double):
    with pytest.raises(ValueError, match=r"two exercises 99\.1"):
        checks.exercise("99.1", "again")(lambda answer, g: None)


def test_unknown_check_says_which_there_are():
    with pytest.raises(AttributeError, match=r"'nothing'; there are annealed_beta, .*, worst_frame$"):
        checks.nothing  # noqa: B018
    assert isinstance(next(iter(EXERCISES.values())), Exercise)


def test_an_error_in_the_check_itself_is_not_hidden():
    broken = Exercise("99.2", "broken", lambda answer, g: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        broken(3)


# --------------------------------------------------------------------------------------------------------------- call


@pytest.mark.parametrize(
    "answer, message",
    [
        (torch.zeros(2), r"(?s)expected +a function.*got +Tensor.*hand over the function itself"),
        (lambda: None, "is a `return` missing"),
    ],
)
def test_call_of_what_is_no_function_or_returns_nothing(answer, message):
    with pytest.raises(CheckFailed, match=message):
        call(answer)


def test_call_of_what_raises_names_the_line():
    def answer(x, scale):
        y = x[0]
        return y + undefined  # noqa: F821

    failure = refused(call, answer, torch.zeros(2, 3), scale=0.5)
    assert failure.expected == "a result for (shape (2, 3): [0, 0, 0, 0, …], scale=0.5)"
    assert failure.got == "NameError: name 'undefined' is not defined"
    assert failure.hint.startswith("it happened in line") and failure.hint.endswith("of answer")


def test_call_hands_on_arguments_result_and_a_missing_answer():
    assert call(lambda a, b=1: a + b, 2, b=3) == 5
    with pytest.raises(NotDone):
        call(absent)


def test_agree_hands_out_copies_and_compares_each_part():
    x, y, rows = torch.ones(2), np.ones(2), [np.ones(2)]

    def answer(x, y, rows):
        x.add_(1), rows[0].fill(7)
        y += 1
        return x, y

    got = agree("of it", answer, lambda x, y, rows: (x + 1, [2, 2]), x, y, rows, parts=("a", "b"))
    assert got[0].tolist() == [2, 2] and [*x, *y, *rows[0]] == [1] * 6
    both_wrong = lambda x: ([9, 9], [0, 1]), lambda x: ([1, 1], [2, 2])
    failure = refused(agree, "of it", *both_wrong, 0, parts=("a", "b"), order=(1, 0))
    assert failure.what == "b of it" and "[2, 2]" in failure.expected and "[0, 1]" in failure.got


@pytest.mark.parametrize("got", [(1, 2), [1, 2], np.ones(2), torch.ones(2)])
def test_unpack(got):
    assert checks.unpack(got, "mean", "error") is got
    failure = refused(checks.unpack, got, "a", "b", "c")
    assert failure.expected == "3 values: a, b, c" and failure.hint == "end with `return a, b, c`"


@pytest.mark.parametrize("got, found", [(torch.ones(2, 3), "shape (2, 3)"), (5, "one value, 5"), ("ab", "'ab'")])
def test_unpack_of_one_thing(got, found):
    assert found in refused(checks.unpack, got, "mean", "error").got


# ------------------------------------------------------------------------------------------------------------ compare


@pytest.mark.parametrize(
    "a, b, equal",
    [
        (1, 1.0, True),
        (torch.ones(2), np.ones(2), True),
        (torch.ones(2, requires_grad=True), [1, 1], True),
        (torch.ones(2), torch.ones(1), False),  # no broadcasting
        (1.0, 1.0001, True),
        (1.0, 1.001, False),
        (math.nan, math.nan, False),
        (math.inf, math.inf, True),
        ("a", "a", True),
        ("a", 1, False),
        (True, 1, False),
        (None, 1.0, False),
        ({"a": 1}, 1.0, False),
        ([1, [2]], [1, 2], False),
        (torch.ones(2, dtype=torch.bfloat16), torch.ones(2), True),
    ],
)
def test_same(a, b, equal):
    assert same(a, b) is equal and same(b, a) is equal


X = torch.arange(1.0, 13.0).reshape(3, 4)


@pytest.mark.parametrize(
    "got, expected, likely",
    [
        (X.T, X, "the last two axes are swapped"),
        (X.reshape(1, 3, 4).permute(2, 0, 1), X.reshape(1, 3, 4), "the axes are in another order"),
        (X.flatten(), X, "the numbers are as many as expected"),
        (X.sum(0), X, "the shape differs"),
        (X.sqrt() * math.nan, X, "NaN"),
        (-X, X, "the sign is wrong"),
        (X / 12, X, "everything is 0.0833333 times"),
        (X + 1, X, "everything is off by 1"),
        (X**2, X, ""),
        ("text", X, "a number or tensor was expected, not str"),
        (X, "text", ""),
        (torch.zeros(3), torch.ones(3), "everything is off by -1"),
    ],
)
def test_causes_that_the_values_tell(got, expected, likely):
    hint = refused(compare, "x", got, expected).hint
    assert hint.startswith(likely) and bool(hint) == bool(likely)


def test_where_the_shown_numbers_agree_the_first_that_differs_is_shown():
    expected = torch.arange(12.0).reshape(3, 4)
    got = expected.clone()
    got[2, 1] = 50
    failure = refused(compare, "z", got, expected)
    assert failure.expected.endswith("at [2, 1]: 9") and failure.got.endswith("at [2, 1]: 50")


def test_require_and_fail():
    require(torch.tensor(True), "yes", "no")
    text = "  what      size\n  expected  3\n  got       4\n  likely    count again"
    assert str(refused(require, False, "3", 4, "count again", "size")) == text
    assert str(refused(fail, "a", "b")) == "  expected  a\n  got       b"


@pytest.mark.parametrize(
    "value, text",
    [
        (3, "3"),
        (1 / 3, "0.333333"),
        (torch.arange(6.0).reshape(2, 3), "shape (2, 3): [0, 1, 2, 3, …]"),
        ([1, 2], "shape (2,): [1, 2]"),
        ("a", "'a'"),
        (True, "True"),
        (None, "None"),
        (test_same, "test_same"),
        ({"a": 1}, "dict {'a': 1}"),
    ],
)
def test_show(value, text):
    assert show(value) == text
