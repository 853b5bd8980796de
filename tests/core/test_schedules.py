"""Schedules against the formulas of the papers, written out as slow loops."""

import math
from fractions import Fraction

import numpy as np
import pytest
from refusals import refuses

from labutils.config import LabConfig
from labutils.schedules import RAMPS, KLAnnealing, TeacherForcing


@pytest.mark.parametrize(
    "steps, cycles, ratio", [(100, 10, 1.0), (100, 4, 0.5), (103, 10, 0.5), (7, 3, 1.0), (5, 10, 0.25)]
)
def test_cyclical_equals_the_definition_also_where_cycles_do_not_divide(steps, cycles, ratio):
    expected = []
    for i in range(steps):
        tau = i % Fraction(steps, cycles) / Fraction(steps, cycles)
        expected.append(0.1 + 0.8 * min(float(tau / Fraction(ratio)), 1.0))
    np.testing.assert_allclose(KLAnnealing("Cyclical", 0.1, 0.9, cycles, ratio).values(steps), expected, atol=1e-12)
    if steps >= 2 * cycles:
        assert (np.diff(expected) < 0).sum() == cycles - 1


def test_monotonic_rises_once_and_stays_and_none_is_constant():
    values = KLAnnealing("Monotonic", cycles=10, ratio=0.25).values(80)
    np.testing.assert_allclose(values, np.minimum(np.arange(80) / 20, 1), atol=1e-12)
    assert KLAnnealing("Monotonic")(10.0, 10.0) == 1.0  # the very end
    assert (KLAnnealing("None", stop=0.3).values(9) == 0.3).all()


def test_ramps_rise_from_0_to_1_each_in_its_shape():
    for ramp in RAMPS.values():
        values = [ramp(r) for r in np.linspace(0, 1, 51)]
        np.testing.assert_allclose([values[0], values[25], values[50]], [0, 0.5, 1], atol=1e-12)
        assert (np.diff(values) > 0).all()
    assert RAMPS["cosine"](0.25) == pytest.approx((1 - math.cos(math.pi / 4)) / 2)
    assert RAMPS["sigmoid"](0.25) < RAMPS["cosine"](0.25) < RAMPS["linear"](0.25)


def test_seconds_and_steps_give_the_same_beta():
    beta = KLAnnealing("Cyclical", cycles=3, ratio=0.7)
    assert beta(1.5, 10.0) == pytest.approx(beta(15, 100))


def test_teacher_forcing_follows_the_definition():
    values = TeacherForcing(start=1.0, sde=10, d_step=0.1, floor=0.25).values(30)
    np.testing.assert_allclose(values, [1] * 10 + [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3] + [0.25] * 13, atol=1e-12)
    assert (TeacherForcing(start=0.2, floor=0.5).values(20) == 0.2).all()  # a floor above the start raises nothing


def test_schedules_come_from_the_flags():
    cfg = LabConfig(kl_anneal_type="Monotonic", kl_anneal_ratio=0.5, kl_anneal_stop=2.0, kl_anneal_shape="cosine")
    assert KLAnnealing.from_config(cfg)(1, 4) == pytest.approx(2 * RAMPS["cosine"](0.5))
    ratios = TeacherForcing.from_config(LabConfig()).values(70)
    assert ratios[18] == 0.1 and (ratios[19:] == 0).all()  # exactly


@pytest.mark.parametrize(
    "bad", [dict(kind="cyclic"), dict(shape="cubic"), dict(cycles=0), dict(ratio=0.0), dict(ratio=1.1)]
)
def test_bad_schedules_are_refused(bad):
    refuses("KL annealing", KLAnnealing, **bad)
