"""The Python side of ReparameterizationExplorer against the modules, autograd and torch's distributions."""

import pytest
from gaussians import expected_numbers

from labutils.errors import LabError
from labutils.widgets import ReparameterizationExplorer


@pytest.mark.parametrize(("mu", "logvar"), [(0.0, 0.0), (1.3, -1.7), (-2.0, 1.1)])
def test_numbers_are_those_of_the_modules_and_of_autograd(mu, logvar):
    widget = ReparameterizationExplorer(mu=mu, logvar=logvar, draws=20_000, seed=3)
    expected = expected_numbers(mu, logvar, widget.eps, widget.chosen)
    assert widget.z.tolist() == pytest.approx(expected["z"], rel=1e-12)
    assert widget.kl == pytest.approx(expected["kl"], abs=1e-12)
    assert widget.kl_estimate == pytest.approx((expected["estimate"], expected["error"]), abs=1e-12)
    assert abs(expected["estimate"] - widget.kl) <= 4 * expected["error"] + 1e-12 < 0.2  # comes to the closed form
    names = {"z_mu": "zMu", "z_logvar": "zLogvar", "kl_mu": "klMu", "kl_logvar": "klLogvar"}
    assert widget.gradients == pytest.approx({name: expected[key] for name, key in names.items()}, abs=1e-12)


def test_values_stay_in_range():
    widget = ReparameterizationExplorer(mu=99, logvar=-99, chosen=500)
    assert (widget.mu, widget.logvar, widget.chosen) == (3.0, -6.0, 31)
    widget.eps = [0.5, -0.5]
    assert widget.chosen == 1 and widget.figure()._repr_png_()
    with pytest.raises(LabError, match="not a number"):
        widget.mu = float("nan")
    with pytest.raises(LabError, match="draws is 1"):
        ReparameterizationExplorer(draws=1)
