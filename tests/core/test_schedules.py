"""Schedules against the formulas of the papers, written out as slow loops."""

import math

import numpy as np
import pytest

from labutils.config import LabConfig
from labutils.errors import LabError
from labutils.schedules import RAMPS, KLAnnealing, TeacherForcing


def slow_cyclical(steps, start, stop, cycles, ratio):
    """The definition with fractions: where in its cycle does step i stand?"""
    from fractions import Fraction

    values = []
    for i in range(steps):
        cycle = Fraction(steps, cycles)
        tau = (i % cycle) / cycle
        values.append(start + (stop - start) * min(float(tau / Fraction(ratio)), 1.0))
    return values


@pytest.mark.parametrize(
    "steps, cycles, ratio", [(100, 10, 1.0), (100, 4, 0.5), (103, 10, 0.5), (7, 3, 1.0), (5, 10, 0.25)]
)
def test_cyclical_equals_the_definition_also_where_cycles_do_not_divide(steps, cycles, ratio):
    beta = KLAnnealing("Cyclical", 0.1, 0.9, cycles, ratio)
    np.testing.assert_allclose(beta.values(steps), slow_cyclical(steps, 0.1, 0.9, cycles, ratio), atol=1e-12)


def test_cyclical_has_as_many_cycles_as_asked_for():
    values = KLAnnealing("Cyclical", cycles=7, ratio=0.5).values(1001)
    assert (np.diff(values) < 0).sum() == 6  # the number of falls between seven cycles
    assert values.max() == 1.0 and values[0] == 0.0


def test_monotonic_rises_once_and_stays():
    values = KLAnnealing("Monotonic", cycles=10, ratio=0.25).values(80)
    np.testing.assert_allclose(values[:20], np.arange(20) / 20, atol=1e-12)
    assert (values[20:] == 1).all()


def test_none_is_the_stop_value_from_the_first_step():
    assert (KLAnnealing("None", stop=0.3).values(9) == 0.3).all()


@pytest.mark.parametrize("shape", RAMPS)
def test_ramps_start_at_0_end_at_1_and_rise(shape):
    ramp = RAMPS[shape]
    values = [ramp(r) for r in np.linspace(0, 1, 50)]
    assert values[0] == pytest.approx(0, abs=1e-12) and values[-1] == pytest.approx(1, abs=1e-12)
    assert (np.diff(values) > 0).all()
    assert ramp(0.5) == pytest.approx(0.5)


def test_ramps_differ():
    assert RAMPS["cosine"](0.25) == pytest.approx((1 - math.cos(math.pi / 4)) / 2)
    assert RAMPS["sigmoid"](0.25) < RAMPS["cosine"](0.25) < RAMPS["linear"](0.25)


def test_seconds_and_steps_give_the_same_beta():
    beta = KLAnnealing("Cyclical", cycles=3, ratio=0.7)
    assert beta(1.5, 10.0) == pytest.approx(beta(15, 100))
    assert KLAnnealing("Monotonic")(10.0, 10.0) == 1.0  # the very end


def test_teacher_forcing_follows_the_definition():
    tfr = TeacherForcing(start=1.0, sde=10, d_step=0.1, floor=0.25)
    values = tfr.values(30)
    assert (values[:10] == 1).all()
    np.testing.assert_allclose(values[10:18], [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25], atol=1e-12)
    assert (values[18:] == 0.25).all()


def test_teacher_forcing_of_the_default_configuration_reaches_exactly_zero():
    values = TeacherForcing.from_config(LabConfig()).values(70)
    assert values[18] == 0.1 and (values[19:] == 0).all()


def test_a_floor_above_the_start_does_not_raise_the_ratio():
    assert (TeacherForcing(start=0.2, floor=0.5).values(20) == 0.2).all()


def test_schedules_come_from_the_flags():
    cfg = LabConfig(kl_anneal_type="Monotonic", kl_anneal_ratio=0.5, kl_anneal_stop=2.0, kl_anneal_shape="cosine")
    assert KLAnnealing.from_config(cfg)(1, 4) == pytest.approx(2 * RAMPS["cosine"](0.5))


@pytest.mark.parametrize(
    "bad", [dict(kind="cyclic"), dict(shape="cubic"), dict(cycles=0), dict(ratio=0.0), dict(ratio=1.1)]
)
def test_bad_schedules_are_refused(bad):
    with pytest.raises(LabError):
        KLAnnealing(**bad)
