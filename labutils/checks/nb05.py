"""Checks of notebook 05: the two schedules, and free bits."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch.distributions import Normal, kl_divergence

from labutils.checks.core import call, compare, exercise


@exercise("5.1", "beta of Monotonic, Cyclical and None")
def annealed_beta(answer: Any, g: torch.Generator) -> None:
    """answer(i, n, kind, cycles, ratio, start, stop) -> beta at iteration i of n (i from 0), linear rise."""
    n = 37 + int(torch.randint(0, 20, (), generator=g))
    cases = [  # cycles divide n; n / cycles is no whole number; the same, but some cycle starts at a whole i
        ("None", 40, 4, 0.5), ("Monotonic", 40, 4, 0.5), ("Monotonic", n, 3, 1.0), ("Cyclical", 40, 4, 0.5),
        ("Cyclical", n, 5, 0.7), ("Cyclical", 30, 9, 1.0), ("None", n, 5, 0.7),
    ]  # fmt: skip
    for kind, n, cycles, ratio in cases:
        low, high = 0.0, 1.0
        if ratio != 0.5:
            low, high = (0.1 * torch.rand(2, generator=g) + torch.tensor([0.05, 0.6])).tolist()
        got = [call(answer, i, n, kind, cycles, ratio, low, high) for i in range(n)]
        name = f"beta of {kind}, n = {n}, cycles = {cycles}, ratio = {ratio}, from {low:.3f} to {high:.3f}"
        right, mistakes = _constant(n, low, high) if kind == "None" else _rising(kind, n, cycles, ratio, low, high)
        compare(name, got, right, mistakes)


def _constant(n: int, low: float, high: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Right and wrong values of "None"."""
    return np.full(n, high), {
        '"None" means no annealing: beta is `stop` from the first iteration on, not 0': np.zeros(n),
        '"None" means no annealing: beta is `stop`, not `start`': np.full(n, low),
        '"None" means no annealing: beta is `stop` throughout; here it rises': low + (high - low) * np.arange(n) / n,
        '"None" gives `stop`, which need not be 1': np.ones(n),
    }


def _rising(
    kind: str, n: int, cycles: int, ratio: float, low: float, high: float
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Right and wrong values of "Monotonic" and "Cyclical", (n,) each, from exact fractions."""
    M = cycles if kind == "Cyclical" else 1

    def curve(rise: Callable[[int], Any], low: float = low, high: float = high) -> np.ndarray:
        """From the height of each iteration, at most 1, to beta."""
        return np.array([low + (high - low) * min(float(rise(i)), 1.0) for i in range(n)])

    def tau(i: int, M: int = M, n: int = n) -> Fraction:
        """Where in its cycle iteration i stands."""
        return Fraction(i * M % n, n)

    R, period, down, up = Fraction(ratio), Fraction(n, M), max(n // M, 1), math.ceil(n / M)
    right = curve(lambda i: tau(i) / R)
    return right, {
        "Monotonic has one rise; this is Cyclical": curve(lambda i: tau(i, cycles) / R),
        "Cyclical has `cycles` rises; this is Monotonic": curve(lambda i: tau(i, 1) / R),
        "`cycles` is the number of cycles in the whole training, not the length of one":
            curve(lambda i: Fraction(i % cycles, cycles) / R),
        "`ratio` is the part of a cycle that rises, not a slope: divide tau by it": curve(lambda i: tau(i) * R),
        "`ratio` is the part of a cycle that rises, not what beta gains in each iteration":
            curve(lambda i: R * tau(i) * period),
        "`ratio` is not used: beta reaches `stop` when tau reaches ratio": curve(tau),
        "after the rise beta stays at `stop` until the cycle ends":
            np.array([low + (high - low) * float(tau(i) / R) for i in range(n)]),
        "after the rise beta stays at `stop`; here it falls back": curve(lambda i: tau(i) / R if tau(i) <= R else 0),
        "n / cycles is rounded down: the cycles are too short, and one more begins":
            curve(lambda i: Fraction(i % down, down) / R),
        "n / cycles is rounded up: the cycles are too long, and there are too few":
            curve(lambda i: Fraction(i % up, up) / R),
        "i % (n / cycles) in floating point just misses the start of a cycle; (i * cycles) % n / n does not":
            curve(lambda i: i % (n / M) / (n / M) / ratio),
        "iterations count from 0: the first one gets `start`": curve(lambda i: tau(i + 1) / R),
        "tau is i / n, not i / (n - 1)": curve(lambda i: tau(i, M, n - 1) / R),
        "beta rises from `start`, which is not 0 here": curve(lambda i: tau(i) / R, low=0.0),
        "`start` is missing": right - low,
        "beta rises to `stop`, which is not 1 here": curve(lambda i: tau(i) / R, high=1.0),
    }  # fmt: skip


@exercise("5.2", "the teacher-forcing ratio")
def forcing_ratio(answer: Any, g: torch.Generator) -> None:
    """answer(epoch, tfr, tfr_sde, tfr_d_step, tfr_floor) -> the ratio in that epoch (from 0)."""
    for floor in (0.0, 0.25):
        sde, step = int(torch.randint(3, 8, (), generator=g)), 0.05 + 0.1 * torch.rand((), generator=g).item()
        start = 0.8 + 0.15 * torch.rand((), generator=g).item()
        epochs = np.arange(sde + 25)
        falls = np.maximum(0, epochs - sde + 1)  # how often it has fallen
        expected = np.maximum(floor, start - step * falls)
        mistakes = {
            "`tfr_sde` is the first epoch with a smaller ratio; yours falls one epoch later":
                np.maximum(floor, start - step * np.maximum(0, epochs - sde)),
            "the ratio falls from the first epoch on; it should wait for `tfr_sde`":
                np.maximum(floor, start - step * epochs),
            "in epoch `tfr_sde` it has fallen once, not `tfr_sde` times: count from there":
                np.where(epochs < sde, start, np.maximum(floor, start - step * epochs)),
            "it falls once and then stays; it should lose `tfr_d_step` in each epoch":
                np.maximum(floor, start - step * (epochs >= sde)),
            "the ratio falls below the floor": start - step * falls,
            "the floor is `tfr_floor`, not 0": np.maximum(0, start - step * falls),
            "the ratio loses `tfr_d_step`; it is not multiplied by 1 - tfr_d_step":
                np.maximum(floor, start * (1 - step) ** falls),
            "the ratio starts at `tfr`, which is not 1 here": np.maximum(floor, 1 - step * falls),
            "max and min are swapped: the floor is the least value": np.minimum(floor, start - step * falls),
        }  # fmt: skip
        got = [call(answer, int(e), start, sde, step, floor) for e in epochs]
        name = f"tfr over {len(epochs)} epochs, start {start:.3f}, sde {sde}, d_step {step:.3f}, floor {floor}"
        compare(name, got, expected, mistakes)


@exercise("5.3", "free bits")
def free_bits(answer: Any, g: torch.Generator) -> None:
    """answer(mu, logvar, lam) -> a number: sum over dimensions of max(lam, KL_j), KL_j a mean over the batch."""
    B, N = 9, 6
    scale = torch.linspace(0.02, 1.5, N)  # some dimensions lie below lam, others above
    mu, logvar = torch.randn(B, N, generator=g) * scale, 0.4 * torch.randn(B, N, generator=g) * scale - scale
    lam = 0.3 + 0.2 * torch.rand((), generator=g).item()
    got = call(answer, mu.clone(), logvar.clone(), lam)
    kl = kl_divergence(Normal(mu, logvar.div(2).exp()), Normal(0.0, 1.0))  # (B, N)
    each = kl.mean(0)  # (N,)
    compare(
        "the KL term with free bits", got, each.clamp(min=lam).sum(),
        {
            "lam is a floor for each dimension: take max before the sum over dimensions": each.sum().clamp(min=lam),
            "the floor for all dimensions together is not the floor for each": each.sum().clamp(min=lam * N),
            "average over the batch first, then take max (Kingma et al. 2016, eq. 15)": kl.clamp(min=lam).mean(0).sum(),
            "max, not min: dimensions below lam count as lam, so their gradient is zero": each.clamp(max=lam).sum(),
            "lam is a floor, not something to add": (each + lam).sum(),
            "lam is a floor, not something to subtract": (each - lam).clamp(min=0).sum(),
            "sum over the dimensions, do not average": each.clamp(min=lam).mean(),
            "average over the batch; this is summed": kl.sum(0).clamp(min=lam).sum(),
            "one number for the batch is asked for; sum over the dimensions": each.clamp(min=lam),
            "the half in front of KL is missing": (2 * each).clamp(min=lam).sum(),
            "logvar is log sigma^2, not log sigma":
                kl_divergence(Normal(mu, logvar.exp()), Normal(0.0, 1.0)).mean(0).clamp(min=lam).sum(),
        },
    )  # fmt: skip
