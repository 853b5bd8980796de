"""The Python side of ReparameterizationExplorer against the modules, autograd and torch's distributions."""

import numpy as np
import pytest
import torch

from labutils.errors import LabError
from labutils.modules import kl_divergence, reparameterize
from labutils.widgets import ReparameterizationExplorer


@pytest.mark.parametrize(("mu", "logvar"), [(0.0, 0.0), (1.3, -1.7), (-2.0, 1.1)])
def test_numbers_are_those_of_the_modules_and_of_autograd(mu, logvar):
    widget = ReparameterizationExplorer(mu=mu, logvar=logvar, draws=64, seed=3)
    m, v = (torch.tensor([[x]], dtype=torch.float64, requires_grad=True) for x in (mu, logvar))
    eps = torch.tensor(widget.eps, dtype=torch.float64)
    z = reparameterize(m.expand(64, 1), v.expand(64, 1), eps[:, None])
    np.testing.assert_allclose(widget.z, z.detach().numpy()[:, 0], rtol=1e-12)
    kl = kl_divergence(m, v)[0]
    assert widget.kl == pytest.approx(kl.item(), abs=1e-12)
    q, p = torch.distributions.Normal(m, torch.exp(0.5 * v)), torch.distributions.Normal(0.0, 1.0)
    ratios = (q.log_prob(z) - p.log_prob(z)).detach().numpy()
    assert widget.kl_estimate == pytest.approx((ratios.mean(), ratios.std(ddof=1) / 8))
    gradients = [*torch.autograd.grad(z[widget.chosen, 0], (m, v)), *torch.autograd.grad(kl, (m, v))]
    assert [*widget.gradients.values()] == pytest.approx([g.item() for g in gradients], abs=1e-12)
    assert [*widget.gradients] == ["z_mu", "z_logvar", "kl_mu", "kl_logvar"]


def test_the_estimate_comes_to_the_closed_form():
    widget = ReparameterizationExplorer(mu=0.8, logvar=-1.0, draws=20_000)
    estimate, error = widget.kl_estimate
    assert 0 < error < 0.02 and abs(estimate - widget.kl) < 4 * error


def test_values_stay_in_range():
    widget = ReparameterizationExplorer(mu=99, logvar=-99, chosen=500)
    assert (widget.mu, widget.logvar, widget.chosen) == (3.0, -6.0, 31)
    widget.eps = [0.5, -0.5]
    assert widget.chosen == 1 and widget.figure()._repr_png_()
    with pytest.raises(LabError, match="not a number"):
        widget.mu = float("nan")
    with pytest.raises(LabError, match="draws is 1"):
        ReparameterizationExplorer(draws=1)
