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
    with pytest.raises(AttributeError, match=r"'nothing'; there are CVAE, .*, worst_frame$"):
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

    failure = refused(call, answer, torch.zeros(2, 3), 0.5)
    assert failure.expected == "a result for x (2, 3), scale 0.5"
    assert failure.got == "NameError: name 'undefined' is not defined"
    assert failure.hint.startswith("it happened in line") and failure.hint.endswith("of answer")


def raises(error):
    def answer(x):
        raise error

    return answer


def no_kl(x):
    uniform = torch.distributions.Uniform(0.0, 1.0)
    return torch.distributions.kl_divergence(torch.distributions.Binomial(3, 0.5), uniform) + x


@pytest.mark.parametrize(
    "answer, got",
    [
        (raises(RuntimeError("first\nsecond")), "RuntimeError: first"),
        (raises(ValueError("long " * 100)), "ValueError: long"),
        (raises(SystemExit("bye")), "SystemExit: bye"),
        (raises(KeyError()), "KeyError"),
        (no_kl, "NotImplementedError"),  # torch's, so the answer is not missing
        (lambda x: x.requires_grad_().numpy(), "RuntimeError: Can't call numpy()"),
    ],
)
def test_whatever_an_answer_raises_is_told_in_a_line(answer, got):
    failure = refused(call, answer, torch.ones(2))
    assert failure.got.startswith(got) and len(failure.got) < 200 and len(str(failure).splitlines()) == 3


class Odd:
    """Nothing can be done with it."""

    def __getattr__(self, name):
        raise OSError("no")


def test_what_the_check_cannot_deal_with_is_the_answers_fault_where_the_reference_passes():
    def verify(answer, g):
        assert call(answer).shape == ()

    check = Exercise("99.2", "odd", verify, lambda: torch.tensor(1))
    failure = refused(check.judge, Odd)
    assert failure.got == "OSError: no" and "type of what is returned" in failure.hint
    check.reference = Odd
    with pytest.raises(OSError):
        check.judge(Odd)


def test_call_hands_on_arguments_result_and_a_missing_answer():
    assert call(lambda a, b=1: a + b, 2, 3) == 5
    with pytest.raises(NotDone):
        call(absent)


def double_first(x):
    x[0] *= 2
    return 1


def double_inside(x):
    double_first(x["rows"][0])
    return 1


def freeze(x):
    x.requires_grad_(False)
    return 1


@pytest.mark.parametrize(
    "answer, given",
    [
        (double_first, torch.ones(2)),
        (double_first, torch.ones(2, requires_grad=True) * 1),
        (double_first, np.ones(2)),
        (double_first, [3, 4]),
        (double_inside, {"rows": [np.ones(2)]}),
        (lambda x: x.pop("a"), {"a": 1}),
        (lambda x: double_first(x.weight.data), torch.nn.Linear(2, 2)),
        (freeze, torch.nn.Linear(2, 2)),
    ],
)
def test_no_answer_may_change_its_input_but_where_it_is_asked_to(answer, given):
    failure = refused(call, lambda first, x: answer(x), 0, given)
    assert failure.got == "x has changed" and "copy" in failure.hint
    nan = torch.full((2,), math.nan)
    assert call(lambda x, y: x[0] is None or y, nan, given, changes=[1]) is given  # NaN is no change


def test_agree_hands_out_copies_and_compares_each_part():
    x, y = torch.ones(2), torch.ones(2, requires_grad=True)
    given = []

    def answer(*inputs):
        given.extend(inputs)
        return inputs[0] + 1, [2, 2]

    got = agree("of it", answer, lambda x, y: (x + 1, [2, 2]), x, y, parts=("a", "b"))
    assert got[0].tolist() == [2, 2] and given[0] is not x and given[1].requires_grad and not given[1].is_leaf
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


# ---------------------------------------------------------------------------------------------- kinds and gradients


def product(a, b):
    return a * b.exp()


@pytest.mark.parametrize(
    "answer, hint",
    [
        (lambda a, b: (a * b.exp()).detach(), "a is cut off"),
        (torch.no_grad()(product), "a is cut off"),
        (lambda a, b: a * b.detach().exp(), "b is cut off"),
        (lambda a, b: a.detach() / 2 * b.exp() + a / 2 * b.exp(), "a part of it is cut off"),
        (lambda a, b: (a * b.exp()).detach().numpy(), "no .item(), float() or NumPy"),
        (lambda a, b: (a * b.exp()).double(), "to make it so, .to(torch.float32)"),
    ],
)
def test_gradients_by_each_input_are_compared(answer, hint):
    a, b = torch.tensor([0.5, 1.0, 2.0]), torch.ones(3)
    given = a.requires_grad_(), b.requires_grad_()
    assert refused(agree, "y", answer, product, *given).hint.startswith(hint)
    agree("y", lambda a, b: b.exp() * a, product, *given)


def test_gradients_are_compared_by_the_weights_of_modules_too():
    layer, x = torch.nn.Linear(2, 2), torch.ones(2)
    failure = refused(agree, "y", lambda net, x: net(x).detach(), lambda net, x: net(x), layer, x)
    assert failure.what == "gradient of y by net.weight" and failure.got == "none"
    agree("y", lambda net, x: net(x.detach()), lambda net, x: net(x), layer, x)  # x does not learn


def test_a_gradient_where_none_must_be():
    x = torch.ones(2, requires_grad=True)
    failure = refused(agree, "y", lambda x: 2 * x, lambda x: 2 * x.detach(), x)
    assert failure.expected == "none" and failure.hint == "x must be cut off from the graph: detach()"
    agree("y", lambda y: torch.tensor([2.0, 2.0]), lambda x: 2 * x.detach(), x)


def test_a_broken_graph_is_told():
    def answer(x):
        y = x.exp()
        return y.mul_(1.0) + 0 * y.sin()

    assert "in place" in refused(agree, "y", answer, torch.exp, torch.ones(2, requires_grad=True)).hint


@pytest.mark.parametrize(
    "got, expected, hint",
    [
        (np.ones(2), torch.ones(2), "torch.from_numpy"),
        ([1, 1], torch.ones(2), ""),
        (torch.ones(2, dtype=torch.int64), torch.ones(2), "to make it so, .to(torch.float32)"),
        (4.0, 4, "int() makes one"),
        ((1.0, 2), (1, 2), "int() makes one"),
        (torch.tensor(4.0), 4, "int() makes one"),
    ],
)
def test_the_kind_of_a_result_is_compared(got, expected, hint):
    assert refused(agree, "y", lambda: got, lambda: expected).hint.startswith(hint)


@pytest.mark.parametrize(
    "got, expected",
    [(1.0, torch.tensor(1.0)), (np.float64(1), torch.tensor(1.0)), (torch.tensor(1.0).double(), 1.0), (1, 1.0),
     ([1.0], np.ones(1)), (np.int64(4), 4), (torch.tensor(4), 4), (torch.Size([1, 2]), (1, 2)), ([1, 2], (1, 2))],
)  # fmt: skip
def test_a_number_may_be_of_any_library(got, expected):
    agree("y", lambda: got, lambda: expected)


def test_what_is_drawn_anew_is_told_apart():
    noisy = refused(agree, "y", lambda x: x + torch.rand(2), twice, torch.ones(2))
    assert noisy.got == "another one in the second call"
    assert refused(agree, "y", lambda x: torch.rand(3), twice, torch.ones(2)).hint.startswith("the shape differs")


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
        (1.87, 1.0, ""),  # one number is always some multiple of another
        (0.0, 1.0, ""),
        (-1.0, 1.0, "the sign is wrong"),
        (torch.tensor(2 * math.log(10)), 2.0, "this is ln 10 times"),
        (X / 3, X, "this is a third"),
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
