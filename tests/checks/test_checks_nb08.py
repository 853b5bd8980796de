"""The checks of notebook 08 tell mistakes apart."""

import numpy as np
import pytest
from exercises import rejected

from labutils import checks
from labutils.checks import CheckFailed


@pytest.mark.parametrize("answer", ["c", "C", {"c"}, ["c"], ("c",), " c "])
def test_the_honest_snippet_in_any_form(answer):
    checks.spot_the_leak.judge(answer)


@pytest.mark.parametrize(
    "answer, hint",
    [
        ("ac", "goes into `posterior`"),
        ({"b", "c"}, "follow `last`"),
        ("c, d", "how was the number chosen"),
        ("abcd", "goes into `posterior`"),
        ("b", "follow `last`"),
        ("ce", "called a, b, c and d"),
        (3, "name the honest snippets by their letters"),
    ],
)
def test_dishonest_snippets_are_named(answer, hint):
    rejected(checks.spot_the_leak, answer, hint)


def test_no_snippet_at_all_is_to_do(capsys):
    checks.spot_the_leak("")
    assert capsys.readouterr().out == "to do 8.1: spot the leak\n"


@pytest.mark.parametrize(
    "answer, hint",
    [
        (lambda v: (np.mean(v), np.std(v, ddof=1)), "smaller by sqrt"),
        (lambda v: (np.mean(v), np.std(v) / len(v) ** 0.5), "by n - 1"),
        (lambda v: (np.mean(v), np.std(v)), "the root of n is missing"),
        (lambda v: (np.mean(v), np.std(v, ddof=1) / len(v)), "not by n"),
        (lambda v: (np.mean(v), np.var(v, ddof=1) / len(v)), "take its root"),
        (lambda v: (np.std(v, ddof=1) / len(v) ** 0.5, np.mean(v)), "the mean comes first"),
        (lambda v: np.mean(v), "return them together"),
        (lambda v: print(end=""), "`return` missing"),
    ],
)
def test_wrong_errors_of_a_mean(answer, hint):
    rejected(checks.mean_and_error, answer, hint)


def of(d, ddof=1):
    error = np.std(d, ddof=ddof) / len(d) ** 0.5
    return np.mean(d), error, np.mean(d) / error


def independent(a, b):
    error = ((a.var(ddof=1) + b.var(ddof=1)) / len(a)) ** 0.5
    return (a - b).mean(), error, (a - b).mean() / error


@pytest.mark.parametrize(
    "answer, hint",
    [
        (independent, "independent groups"),
        (lambda a, b: of(b - a), "it is b - a"),
        (lambda a, b: of(np.sort(a) - np.sort(b)), "do not sort"),
        (lambda a, b: of(a - b, ddof=0), "by n - 1"),
        (lambda a, b: (*of(a - b)[:2], (a - b).mean() / (a - b).std(ddof=1)), "not over the standard deviation"),
        (lambda a, b: ((a - b).mean(), (a - b).std(ddof=1), (a - b).mean() / (a - b).std(ddof=1)), "divide it by sqrt"),
        (lambda a, b: of(a - b)[:2], "return them together"),
    ],
)
def test_wrong_pairs(answer, hint):
    rejected(checks.paired, answer, hint)


def test_absolute_differences_are_seen_where_a_sign_differs():
    failures = 0
    for seed in range(10):
        try:
            checks.paired.judge(lambda a, b: of(np.abs(a - b)), seed)
        except CheckFailed as failure:
            failures += "keep the sign" in str(failure)
    assert failures >= 5  # where all differences are positive, both are the same


def in_place(y, window):
    y[:] = [y[max(0, i - window // 2) : i + window // 2 + 1].mean() for i in range(len(y))]
    return y


def edges(y, window):
    r = window // 2
    padded = np.pad(y, r, mode="edge")
    return np.array([padded[i : i + window].mean() for i in range(len(y))])


@pytest.mark.parametrize(
    "answer, hint",
    [
        (lambda y, w: np.convolve(y, np.ones(w) / w, mode="same"), "divide by their number"),
        (lambda y, w: np.array([y[max(0, i - w + 1) : i + 1].mean() for i in range(len(y))]), "only looks back"),
        (lambda y, w: np.array([y[i : i + w].mean() for i in range(len(y))]), "only looks ahead"),
        (lambda y, w: np.array([y[max(0, i - w // 2) : i + w // 2].mean() for i in range(len(y))]), "one value short"),
        (lambda y, w: np.convolve(y, np.ones(w) / w, mode="valid"), "got shorter"),
        (edges, "repeated"),
        (in_place, "y was changed"),
        (
            lambda y, w: np.array([y[i - w // 2 : i + w // 2 + 1].sum() / w for i in range(len(y))]),
            "smooth a loss curve",
        ),
    ],
)
def test_wrong_smoothing(answer, hint):
    rejected(checks.smooth, answer, hint)
