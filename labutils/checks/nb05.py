"""Checks of notebook 05: the two schedules, and free bits."""

import math
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from labutils.checks.core import Answer, agree, call, compare, exercise


def _beta(
    i: int, n: int, kind: str = "Cyclical", cycles: int = 10, ratio: float = 1.0,
    start: float = 0.0, stop: float = 1.0,
    tau: Answer = lambda i, n, M: Fraction(i * M % n, n), rise: Answer = lambda tau, R: min(tau / R, 1),
    between: Answer = lambda a, b, height: a + (b - a) * height, none: Answer = lambda i, n, a, b: b,
    cycles_of: Answer = lambda kind, M: M if kind == "Cyclical" else 1,
) -> float:  # fmt: skip
    """Beta at iteration i of n.

    Args:
        tau: where in its cycle the iteration stands; M cycles.
        rise: how high beta has risen there, 0 to 1; R is the part of a cycle that rises.
    """
    if kind == "None":
        return none(i, n, start, stop)
    return between(start, stop, float(rise(tau(i, n, cycles_of(kind, cycles)), Fraction(ratio))))


@exercise("5.1", "beta of Monotonic, Cyclical and None", _beta, {
    '"None" means no annealing: beta is `stop` from the first iteration on, not 0': dict(none=lambda *a: 0.0),
    '"None" means no annealing: beta is `stop`, not `start`': dict(none=lambda i, n, a, b: a),
    '"None" means no annealing: beta is `stop` throughout; here it rises':
        dict(none=lambda i, n, a, b: a + (b - a) * i / n),
    '"None" gives `stop`, which need not be 1': dict(none=lambda i, n, a, b: 1.0),
    "Monotonic has one rise; this is Cyclical": dict(cycles_of=lambda kind, M: M),
    "Cyclical has `cycles` rises; this is Monotonic": dict(cycles_of=lambda kind, M: 1),
    "`cycles` is the number of cycles in the whole training, not the length of one":
        dict(tau=lambda i, n, M: Fraction(i % M, M) if M > 1 else Fraction(i, n)),
    "`ratio` is the part of a cycle that rises, not a slope: divide tau by it":
        dict(rise=lambda tau, R: min(tau * R, 1)),
    "`ratio` is the part of a cycle that rises, not what beta gains in each iteration":
        dict(tau=lambda i, n, M: Fraction(i * M % n, M), rise=lambda tau, R: min(tau * R, 1)),
    "`ratio` is not used: beta reaches `stop` when tau reaches ratio": dict(rise=lambda tau, R: tau),
    "after the rise beta stays at `stop` until the cycle ends": dict(rise=lambda tau, R: tau / R),
    "after the rise beta stays at `stop`; here it falls back": dict(rise=lambda tau, R: tau / R if tau <= R else 0),
    "n / cycles is rounded down: the cycles are too short, and one more begins":
        dict(tau=lambda i, n, M: Fraction(i % (n // M), n // M)),
    "n / cycles is rounded up: the cycles are too long, and there are too few":
        dict(tau=lambda i, n, M: Fraction(i % math.ceil(n / M), math.ceil(n / M))),
    "n // cycles + 1 is too much by 1 where `cycles` divides n":
        dict(tau=lambda i, n, M: Fraction(i % (n // M + 1), n // M + 1)),
    "i % ceil(n / cycles), as in Fu et al., makes the cycles too long; (i * cycles) % n / n is exact":
        dict(tau=lambda i, n, M: Fraction(i % math.ceil(n / M) * M, n)),
    "a cycle of n / cycles rounded down, as a part of n / cycles: one more begins":
        dict(tau=lambda i, n, M: Fraction(i % (n // M) * M, n)),
    "i % (n / cycles) in floating point just misses the start of a cycle; (i * cycles) % n / n does not":
        dict(tau=lambda i, n, M: Fraction(i % (n / M) / (n / M))),
    "iterations count from 0: the first one gets `start`": dict(tau=lambda i, n, M: Fraction((i + 1) * M % n, n)),
    "tau is i / n, not i / (n - 1)": dict(tau=lambda i, n, M: Fraction(i * M % (n - 1), n - 1)),
    "beta rises from `start`, which is not 0 here": dict(between=lambda a, b, height: b * height),
    "`start` is missing": dict(between=lambda a, b, height: (b - a) * height),
    "beta rises to `stop`, which is not 1 here": dict(between=lambda a, b, height: a + (1 - a) * height),
})  # fmt: skip
def annealed_beta(answer: Any, g: torch.Generator) -> None:
    """answer(i, n, kind, cycles, ratio, start, stop) -> beta at iteration i of n (i from 0), linear rise."""
    n = 37 + int(torch.randint(0, 20, (), generator=g))
    cases = [  # cycles divide n; n / cycles is no whole number; the same, but some cycle starts at a whole i
        ("None", n, 5, 0.7), ("Monotonic", 40, 4, 0.5), ("Monotonic", n, 3, 1.0), ("Cyclical", 40, 4, 0.5),
        ("Cyclical", n, 5, 0.7), ("Cyclical", 30, 9, 1.0), ("None", 40, 4, 0.5),
    ]  # fmt: skip
    for kind, n, cycles, ratio in cases:
        low, high = 0.0, 1.0
        if ratio != 0.5:
            low, high = (0.1 * torch.rand(2, generator=g) + torch.tensor([0.05, 0.6])).tolist()
        name = f"beta of {kind}, n = {n}, cycles = {cycles}, ratio = {ratio}, from {low:.3f} to {high:.3f}"
        got, expected = [], []
        for i in range(n):
            got.append(call(answer, i, n, kind, cycles, ratio, low, high))
            expected.append(_beta(i, n, kind, cycles, ratio, low, high))
        compare(name, got, expected)


def _forcing(
    epoch: int, tfr: float = 1.0, tfr_sde: int = 10, tfr_d_step: float = 0.1, tfr_floor: float = 0.0,
    falls: Answer = lambda epoch, sde: max(0, epoch - sde + 1), lose: Answer = lambda tfr, d, n: tfr - d * n,
    bound: Answer = max,
) -> float:  # fmt: skip
    """How often the ratio has fallen, what it has lost, and how it is bounded."""
    return bound(tfr_floor, lose(tfr, tfr_d_step, falls(epoch, tfr_sde)))


@exercise("5.2", "the teacher-forcing ratio", _forcing, {
    "`tfr_sde` is the first epoch with a smaller ratio; yours falls one epoch later":
        dict(falls=lambda epoch, sde: max(0, epoch - sde)),
    "the ratio falls from the first epoch on; it should wait for `tfr_sde`": dict(falls=lambda epoch, sde: epoch),
    "in epoch `tfr_sde` it has fallen once, not `tfr_sde` times: count from there":
        dict(falls=lambda epoch, sde: epoch if epoch >= sde else 0),
    "before `tfr_sde` it has fallen 0 times, not a negative number of times: max(0, …)":
        dict(falls=lambda epoch, sde: epoch - sde + 1),
    "before `tfr_sde` the ratio is `tfr`; here it is larger":
        dict(falls=lambda epoch, sde: epoch - sde + 1, bound=lambda floor, tfr: min(1.0, max(floor, tfr))),
    "it falls once and then stays; it should lose `tfr_d_step` in each epoch":
        dict(falls=lambda epoch, sde: epoch >= sde),
    "the ratio falls below the floor": dict(bound=lambda floor, tfr: tfr),
    "the floor is `tfr_floor`, not 0": dict(bound=lambda floor, tfr: max(0.0, tfr)),
    "the ratio loses `tfr_d_step`; it is not multiplied by 1 - tfr_d_step":
        dict(lose=lambda tfr, d, n: tfr * (1 - d) ** n),
    "the ratio starts at `tfr`, which is not 1 here": dict(lose=lambda tfr, d, n: 1 - d * n),
    "max and min are swapped: the floor is the least value": dict(bound=min),
})  # fmt: skip
def forcing_ratio(answer: Any, g: torch.Generator) -> None:
    """answer(epoch, tfr, tfr_sde, tfr_d_step, tfr_floor) -> the ratio in that epoch (from 0)."""
    for floor in (0.0, 0.25):
        sde, step = int(torch.randint(3, 8, (), generator=g)), 0.05 + 0.1 * torch.rand((), generator=g).item()
        start = 0.8 + 0.15 * torch.rand((), generator=g).item()
        epochs = range(sde + 25)
        got = [call(answer, epoch, start, sde, step, floor) for epoch in epochs]
        name = f"tfr over {len(epochs)} epochs, start {start:.3f}, sde {sde}, d_step {step:.3f}, floor {floor}"
        compare(name, got, [_forcing(epoch, start, sde, step, floor) for epoch in epochs])


def _kl(mu: Tensor, logvar: Tensor) -> Tensor:
    return kl_divergence(Normal(mu, logvar.div(2).exp()), Normal(0.0, 1.0))  # (B, N)


def _each(mu: Tensor, logvar: Tensor) -> Tensor:
    return _kl(mu, logvar).mean(0)  # (N,)


def _bits(mu: Tensor, logvar: Tensor, lam: float) -> Tensor:
    return _each(mu, logvar).clamp(min=lam).sum()


@exercise("5.3", "free bits", _bits, {
    "lam is a floor for each dimension: take max before the sum over dimensions":
        lambda m, v, lam: _each(m, v).sum().clamp(min=lam),
    "the floor for all dimensions together is not the floor for each":
        lambda m, v, lam: _each(m, v).sum().clamp(min=lam * m.shape[1]),
    "average over the batch first, then take max (Kingma et al. 2016, eq. 15)":
        lambda m, v, lam: _kl(m, v).clamp(min=lam).mean(0).sum(),
    "max, not min: dimensions below lam count as lam, so their gradient is zero":
        lambda m, v, lam: _each(m, v).clamp(max=lam).sum(),
    "lam is a floor, not something to add": lambda m, v, lam: (_each(m, v) + lam).sum(),
    "lam is a floor, not something to subtract": lambda m, v, lam: (_each(m, v) - lam).clamp(min=0).sum(),
    "sum over the dimensions, do not average": lambda m, v, lam: _each(m, v).clamp(min=lam).mean(),
    "average over the batch; this is summed": lambda m, v, lam: _kl(m, v).sum(0).clamp(min=lam).sum(),
    "one number for the batch is asked for; sum over the dimensions": lambda m, v, lam: _each(m, v).clamp(min=lam),
    "the half in front of KL is missing": lambda m, v, lam: (2 * _each(m, v)).clamp(min=lam).sum(),
    "logvar is log sigma^2, not log sigma": lambda m, v, lam: _bits(m, 2 * v, lam),
})  # fmt: skip
def free_bits(answer: Any, g: torch.Generator) -> None:
    """answer(mu, logvar, lam) -> a number: sum over dimensions of max(lam, KL_j), KL_j a mean over the batch."""
    B, N = 9, 6
    scale = torch.linspace(0.02, 1.5, N)  # some dimensions lie below lam, others above
    mu, logvar = torch.randn(B, N, generator=g) * scale, 0.4 * torch.randn(B, N, generator=g) * scale - scale
    lam = 0.7 + 0.2 * torch.rand((), generator=g).item()
    agree("the KL term with free bits", answer, _bits, mu.requires_grad_(), logvar.requires_grad_(), lam)
