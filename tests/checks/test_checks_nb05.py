"""The checks of notebook 05 tell mistakes apart; the lab's own schedules pass."""

import math

import pytest
import torch
from exercises import accepted, rejected

from labutils import checks
from labutils.schedules import KLAnnealing, TeacherForcing


def test_the_labs_own_schedules_pass():
    accepted(checks.annealed_beta, lambda i, n, kind, M, R, a, b: KLAnnealing(kind, a, b, M, R)(i, n))
    accepted(checks.forcing_ratio, lambda epoch, *settings: TeacherForcing(*settings)(epoch))


def beta(
    where=lambda i, n, M: i * M % n / n,
    rise=lambda tau, R: min(tau / R, 1.0),
    none=lambda a, b: b,
    between=lambda a, b, r: a + (b - a) * r,
    count=lambda kind, M: M if kind == "Cyclical" else 1,
):
    def answer(i, n, kind, cycles, ratio, start, stop):
        if kind == "None":
            return none(start, stop)
        return between(start, stop, rise(where(i, n, count(kind, cycles)), ratio))

    return answer


def period_of(cycles_as):
    def answer(i, n, kind, cycles, ratio, start, stop):
        if kind != "Cyclical":
            return beta()(i, n, kind, cycles, ratio, start, stop)
        period = cycles_as(n, cycles)
        return start + (stop - start) * min(i % period / period / ratio, 1.0)

    return answer


def slope(i, n, kind, cycles, ratio, start, stop):
    if kind == "None":
        return stop
    period = n / (cycles if kind == "Cyclical" else 1)
    return min(stop, start + (stop - start) * ratio * (i % period))


def tfr(falls=lambda e, sde: max(0, e - sde + 1), floor=max, lose=lambda s, d, k: s - d * k):
    return lambda epoch, start, sde, step, low: floor(low, lose(start, step, falls(epoch, sde)))


def bits(inside=lambda kl, lam: kl.mean(0).clamp(min=lam).sum(), half=0.5, var=torch.exp):
    return lambda mu, logvar, lam: inside(half * (mu**2 + var(logvar) - 1 - logvar), lam)


WRONG = [
    ("5.1", beta(none=lambda a, b: 0.0), "not 0"),
    ("5.1", beta(count=lambda kind, M: M), "this is Cyclical"),
    ("5.1", beta(count=lambda kind, M: 1), "this is Monotonic"),
    ("5.1", period_of(lambda n, cycles: cycles), "not the length of one"),
    ("5.1", beta(rise=lambda tau, R: min(tau * R, 1.0)), "divide tau by it"),
    ("5.1", slope, "not what beta gains in each iteration"),
    ("5.1", beta(rise=lambda tau, R: tau), "`ratio` is not used"),
    ("5.1", beta(rise=lambda tau, R: tau / R), "stays at `stop` until"),
    ("5.1", beta(rise=lambda tau, R: tau / R if tau <= R else 0.0), "falls back"),
    ("5.1", period_of(lambda n, cycles: n // cycles), "rounded down"),
    ("5.1", period_of(lambda n, cycles: math.ceil(n / cycles)), "rounded up"),
    ("5.1", period_of(lambda n, cycles: n / cycles), "floating point"),
    ("5.1", beta(where=lambda i, n, M: (i + 1) * M % n / n), "count from 0"),
    ("5.1", beta(between=lambda a, b, r: b * r), "`start`, which is not 0"),
    ("5.1", beta(between=lambda a, b, r: a + (1 - a) * r), "`stop`, which is not 1"),
    ("5.2", tfr(falls=lambda e, sde: max(0, e - sde)), "one epoch later"),
    ("5.2", tfr(falls=lambda e, sde: e), "wait for `tfr_sde`"),
    ("5.2", tfr(falls=lambda e, sde: e if e >= sde else 0), "count from there"),
    ("5.2", tfr(falls=lambda e, sde: int(e >= sde)), "falls once"),
    ("5.2", tfr(floor=lambda low, v: v), "below the floor"),
    ("5.2", tfr(floor=lambda low, v: max(0.0, v)), "not 0"),
    ("5.2", tfr(lose=lambda s, d, k: s * (1 - d) ** k), "not multiplied"),
    ("5.3", bits(lambda kl, lam: kl.mean(0).sum().clamp(min=lam)), "floor for each dimension"),
    ("5.3", bits(lambda kl, lam: kl.clamp(min=lam).mean(0).sum()), "average over the batch first"),
    ("5.3", bits(lambda kl, lam: kl.mean(0).clamp(max=lam).sum()), "max, not min"),
    ("5.3", bits(lambda kl, lam: (kl.mean(0) + lam).sum()), "not something to add"),
    ("5.3", bits(lambda kl, lam: kl.mean(0).sum()), "take max before the sum"),
    ("5.3", bits(lambda kl, lam: kl.mean(0).clamp(min=lam).mean()), "do not average"),
    ("5.3", bits(half=1.0), "half in front"),
]


@pytest.mark.parametrize("number, answer, hint", WRONG, ids=[f"{w[0]}-{k}" for k, w in enumerate(WRONG)])
def test_a_mistake_is_named(number, answer, hint):
    rejected(checks.EXERCISES[number], answer, hint)
