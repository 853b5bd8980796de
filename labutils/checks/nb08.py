"""Exercises of notebook 08: which measure is honest, and what several runs tell."""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from labutils.checks.core import NotDone, call, compare, exercise, fail, require, show

SNIPPETS = {  # what each dishonest snippet of exercise 8.1 does
    "a": "snippet a: which frame goes into `posterior`, and is it known when the frame is predicted?",
    "b": "snippet b: follow `last` through one round of the loop; which frame is fed in the next one?",
    "d": "snippet d: the prediction sees no truth, but how was the number chosen that is reported?",
}


@exercise("8.1", "spot the leak")
def spot_the_leak(answer: Any, g: torch.Generator) -> None:
    """A string or set of the letters of the snippets that measure honestly."""
    if not isinstance(answer, (str, set, frozenset, list, tuple)):
        fail("letters, such as 'ab' or {'a', 'b'}", show(answer), "name the honest snippets by their letters")
    letters = {str(part).strip().lower() for part in answer} - {"", ",", " "}
    if not letters:
        raise NotDone
    unknown = sorted(letters - set("abcd"))
    require(not unknown, "letters from a to d", ", ".join(unknown), "the snippets are called a, b, c and d")
    for letter, hint in SNIPPETS.items():
        require(letter not in letters, "only the honest snippets", f"{letter} among them", hint)
    hint = "one is missing: c reads true frames only to score, after its prediction has been made"
    require("c" in letters, "all honest snippets", show("".join(sorted(letters))), hint)


def _runs(g: torch.Generator, n: int) -> np.ndarray:
    """Validation PSNRs of n runs in dB, float64 (n,)."""
    return 30 + 0.7 * torch.randn(n, generator=g, dtype=torch.float64).numpy()


@exercise("8.2", "mean and standard error")
def mean_and_error(answer: Any, g: torch.Generator) -> None:
    """values (n,) -> mean and standard error of the mean."""
    for n in (3, 5, 12):
        values = _runs(g, n)
        mean, sd, population = statistics.mean(values), statistics.stdev(values), statistics.pstdev(values)
        se = sd / n**0.5
        mistakes = {
            "that is the standard deviation of one run; the error of the mean is smaller by sqrt(n)": (mean, sd),
            "divide the squared deviations by n - 1: the mean was estimated from the same n values": (
                mean, population / n**0.5,
            ),
            "the deviations are divided by n, and the root of n is missing": (mean, population),
            "divide the standard deviation by sqrt(n), not by n": (mean, sd / n),
            "a variance is in squared dB; take its root": (mean, sd**2 / n),
            "the mean comes first, then its error": (se, mean),
            "the median is another thing than the mean": (statistics.median(values), se),
        }  # fmt: skip
        compare(f"mean and standard error of {n} runs", _pair(call(answer, values.copy()), 2), (mean, se), mistakes)


@exercise("8.3", "a paired comparison")
def paired(answer: Any, g: torch.Generator) -> None:
    """a, b (n,) of the same seeds -> mean of a - b, its standard error, and t."""
    for n in (3, 4, 9):
        seeds = _runs(g, n)
        a, b = (seeds + shift + 0.2 * torch.randn(n, generator=g, dtype=torch.float64).numpy() for shift in (0.3, 0.0))

        def result(d: Sequence[float], deviation: Callable[..., float] = statistics.stdev) -> tuple[float, ...]:
            mean, se = statistics.mean(d), deviation(d) / len(d) ** 0.5
            return mean, se, mean / se

        right = [x - y for x, y in zip(a, b)]
        mean, se, t = result(right)
        apart = ((statistics.variance(a) + statistics.variance(b)) / n) ** 0.5
        mistakes = {
            "that is the comparison of two independent groups: take the difference of each seed first": (
                mean, apart, mean / apart,
            ),
            "the pairs are torn apart: entry i of both belongs to the same seed, so do not sort": result(
                [x - y for x, y in zip(sorted(a), sorted(b))]
            ),
            "it is b - a; the first method minus the second is asked for": result([y - x for x, y in zip(a, b)]),
            "keep the sign of the differences": result([abs(x - y) for x, y in zip(a, b)]),
            "divide the squared deviations by n - 1": result(right, statistics.pstdev),
            "t is the mean over its standard error, not over the standard deviation": (mean, se, t / n**0.5),
            "that is the standard deviation of the differences; divide it by sqrt(n)": (
                mean, se * n**0.5, t / n**0.5,
            ),
        }  # fmt: skip
        got = _pair(call(answer, a.copy(), b.copy()), 3)
        compare(f"mean difference, its standard error and t of {n} pairs", got, (mean, se, t), mistakes)


@exercise("8.4", "smooth a loss curve")
def smooth(answer: Any, g: torch.Generator) -> None:
    """y (n,), odd window -> (n,): the mean of what lies in a window centred on each place."""
    for n, window in ((12, 5), (9, 3), (7, 1), (5, 9)):
        y = np.exp(torch.randn(n, generator=g, dtype=torch.float64).numpy() - np.linspace(0, 2, n))
        given, r = y.copy(), window // 2
        got = call(answer, given, window)
        require(same_values(given, y), "y as it was", show(given), "write the result into a new array: y was changed")

        def mean_of(low: Callable[[int], int], high: Callable[[int], int], y: np.ndarray = y) -> np.ndarray:
            parts = [y[max(0, low(i)) : high(i)] for i in range(len(y))]
            return np.array([part.mean() if len(part) else np.nan for part in parts])

        inside = [y[max(0, i - r) : i + r + 1] for i in range(n)]
        padded = np.concatenate([np.repeat(y[:1], r), y, np.repeat(y[-1:], r)])
        mistakes = {
            "at the ends fewer values lie in the window: divide by their number, not by the window": np.array(
                [part.sum() / window for part in inside]
            ),
            "the window only looks back, which shifts the curve to the right by half a window; centre it": mean_of(
                lambda i, w=window: i - w + 1, lambda i: i + 1
            ),
            "the window only looks ahead, which shifts the curve to the left by half a window; centre it": mean_of(
                lambda i: i, lambda i, w=window: i + w
            ),
            "a slice ends before its last index: the window is one value short": mean_of(
                lambda i, r=r: i - r, lambda i, r=r: i + r
            ),
            "only whole windows are kept: the curve got shorter and no longer fits its steps": np.array(
                [y[i : i + window].mean() for i in range(max(1, n - window + 1))]
            ),
            "the values at the ends are repeated; take the mean of what is there": np.array(
                [padded[i : i + window].mean() for i in range(n)]
            ),
            "median, where the mean is asked for": np.array([np.median(part) for part in inside]),
        }
        compare(f"{n} values, window {window}", got, np.array([part.mean() for part in inside]), mistakes)


def same_values(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool((a == b).all())


def _pair(result: Any, size: int) -> Any:
    """Numbers out of a tuple, list or array of ``size``; anything else fails."""
    if isinstance(result, (str, dict, set)) or not hasattr(result, "__len__") or len(result) != size:
        names = "mean, standard error" if size == 2 else "mean difference, standard error, t"
        fail(f"{size} numbers: {names}", show(result), "return them together, separated by commas")
    return tuple(float(value) for value in result)
