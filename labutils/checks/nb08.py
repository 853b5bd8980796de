"""Exercises of notebook 08: which measure is honest, and what several runs tell."""

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from labutils.checks.core import Answer, NotDone, agree, exercise, require


@exercise("8.1", "spot the leak", "c", {
    "name the honest snippets by their letters": 3,
    "the snippets are called a, b, c and d": "ce",
    "snippet a: which frame goes into `posterior`, and is it known when the frame is predicted?": "ac",
    "snippet b: follow `last` through one round of the loop; which frame is fed in the next one?": {"b", "c"},
    "snippet d: the prediction sees no truth, but how was the number chosen that is reported?": "c, d",
})  # fmt: skip
def spot_the_leak(answer: Any, g: torch.Generator) -> None:
    """A string or set of the letters of the snippets that measure honestly."""
    letters_only = isinstance(answer, (str, set, frozenset, list, tuple))
    require(letters_only, "letters, such as 'ab' or {'a', 'b'}", answer)
    letters = {str(part).strip().lower() for part in answer} - {"", ",", " "}
    if not letters:
        raise NotDone
    unknown = sorted(letters - set("abcd"))
    require(not unknown, "letters from a to d", ", ".join(unknown))
    for letter in "abd":
        require(letter not in letters, "only the honest snippets", f"{letter} among them", what=f"snippet {letter}")


def _runs(g: torch.Generator, n: int, mean: float = 30.0, sd: float = 0.7) -> np.ndarray:
    """Validation PSNRs of n runs in dB, float64 (n,)."""
    return mean + sd * torch.randn(n, generator=g, dtype=torch.float64).numpy()


def _error(values: Sequence[float]) -> float:
    """The standard error of the mean."""
    return statistics.stdev(values) / len(values) ** 0.5


def _mean_and_error(values: np.ndarray, error: Answer = _error) -> tuple[float, float]:
    return statistics.mean(values), error(values)


@exercise("8.2", "mean and standard error", _mean_and_error, {
    "that is the standard deviation of one run; the error of the mean is smaller by sqrt(n)":
        dict(error=statistics.stdev),
    "divide the squared deviations by n - 1: the mean was estimated from the same n values":
        dict(error=lambda v: statistics.pstdev(v) / len(v) ** 0.5),
    "the deviations are divided by n, and the root of n is missing": dict(error=statistics.pstdev),
    "divide the standard deviation by sqrt(n), not by n": dict(error=lambda v: statistics.stdev(v) / len(v)),
    "a variance is in squared dB; take its root": dict(error=lambda v: _error(v) ** 2),
    "the mean comes first, then its error": lambda v: _mean_and_error(v)[::-1],
    "the median is another thing than the mean": lambda v: (statistics.median(v), _error(v)),
})  # fmt: skip
def mean_and_error(answer: Any, g: torch.Generator) -> None:
    """values (n,) -> mean and standard error of the mean."""
    for n in (3, 5, 12):
        agree(f"of {n} runs", answer, _mean_and_error, _runs(g, n), parts=("mean", "standard_error"))


def _paired(
    a: np.ndarray, b: np.ndarray, difference: Answer = lambda a, b: a - b, error: Answer = lambda a, b, d: _error(d),
    t: Answer = lambda mean, error, n: mean / error,
) -> tuple[float, float, float]:  # fmt: skip
    d = difference(a, b)
    mean, se = statistics.mean(d), error(a, b, d)
    return mean, se, t(mean, se, len(d))


@exercise("8.3", "a paired comparison", _paired, {
    "that is the comparison of two independent groups: take the difference of each seed first":
        dict(error=lambda a, b, d: (_error(a) ** 2 + _error(b) ** 2) ** 0.5),
    "the pairs are torn apart: entry i of both belongs to the same seed, so do not sort":
        dict(difference=lambda a, b: np.sort(a) - np.sort(b)),
    "it is b - a; the first method minus the second is asked for": dict(difference=lambda a, b: b - a),
    "keep the sign of the differences": dict(difference=lambda a, b: abs(a - b)),
    "divide the squared deviations by n - 1": dict(error=lambda a, b, d: statistics.pstdev(d) / len(d) ** 0.5),
    "t is the mean over its standard error, not over the standard deviation":
        dict(t=lambda mean, error, n: mean / error / n**0.5),
    "that is the standard deviation of the differences; divide it by sqrt(n)":
        dict(error=lambda a, b, d: statistics.stdev(d)),
})  # fmt: skip
def paired(answer: Any, g: torch.Generator) -> None:
    """a, b (n,) of the same seeds -> mean of a - b, its standard error, and t."""
    for n in (3, 4, 9):
        seeds = _runs(g, n)
        a, b = (seeds + _runs(g, n, shift, 0.2) for shift in (0.3, 0.0))
        a[0] = b[0] - 0.1  # a difference whose sign counts
        agree(f"of {n} pairs", answer, _paired, a, b, parts=("mean", "standard_error", "t"))


def _smoothed(
    y: np.ndarray, window: int, low: Answer = lambda i, w: i - w // 2, high: Answer = lambda i, w: i + w // 2 + 1,
    mean: Answer = lambda part, w: part.mean(),
) -> np.ndarray:  # fmt: skip
    return np.array([mean(y[max(0, low(i, window)) : high(i, window)], window) for i in range(len(y))])


def _whole_windows(y: np.ndarray, window: int) -> np.ndarray:
    return np.array([y[i : i + window].mean() for i in range(max(1, len(y) - window + 1))])


@exercise("8.4", "smooth a loss curve", _smoothed, {
    "at the ends fewer values lie in the window: divide by their number, not by the window":
        dict(mean=lambda part, w: part.sum() / w),
    "the window only looks back, which shifts the curve to the right by half a window; centre it":
        dict(low=lambda i, w: i - w + 1, high=lambda i, w: i + 1),
    "the window only looks ahead, which shifts the curve to the left by half a window; centre it":
        dict(low=lambda i, w: i, high=lambda i, w: i + w),
    "a slice ends before its last index: the window is one value short": dict(high=lambda i, w: i + w // 2),
    "only whole windows are kept: the curve got shorter and no longer fits its steps": _whole_windows,
    "the values at the ends are repeated; take the mean of what is there":
        lambda y, window: _whole_windows(np.pad(y, window // 2, mode="edge"), window),
    "median, where the mean is asked for": dict(mean=lambda part, w: np.median(part)),
})  # fmt: skip
def smooth(answer: Any, g: torch.Generator) -> None:
    """y (n,), odd window -> (n,): the mean of what lies in a window centred on each place; no window exceeds y."""
    for n, window in ((12, 5), (9, 3), (7, 1), (5, 5)):
        y = np.exp(torch.randn(n, generator=g, dtype=torch.float64).numpy() - np.linspace(0, 2, n))
        agree(f"{n} values, window {window}", answer, _smoothed, y, window)
