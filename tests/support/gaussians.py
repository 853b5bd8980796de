"""The numbers that ReparameterizationExplorer shows, by the lab's modules, torch's distributions and autograd."""

from typing import Any

import torch
from torch.distributions import Normal

from labutils.modules import kl_divergence, reparameterize


def expected_numbers(mu: float, logvar: float, eps: list[float], chosen: int) -> dict[str, Any]:
    """z of each draw, KL, its Monte Carlo estimate with standard error, and the gradients of z[chosen] and of KL."""
    m, v = (torch.tensor([[x]], dtype=torch.float64, requires_grad=True) for x in (mu, logvar))
    sigma = torch.exp(0.5 * v).detach().requires_grad_()
    e = torch.tensor(eps, dtype=torch.float64)[:, None]
    z = reparameterize(m.expand(len(e), 1), v.expand(len(e), 1), e)
    kl = kl_divergence(m, v)[0]
    q, p = Normal(m, torch.exp(0.5 * v)), Normal(0.0, 1.0)
    ratios = (q.log_prob(z) - p.log_prob(z)).detach()
    numbers = {"estimate": ratios.mean(), "error": ratios.std() / len(e) ** 0.5, "kl": kl}
    numbers |= zip(("zMu", "zLogvar"), torch.autograd.grad(z[chosen, 0], (m, v)))
    numbers |= zip(("klMu", "klLogvar"), torch.autograd.grad(kl, (m, v)))
    numbers["zSigma"], numbers["klSigma"] = e[chosen], torch.autograd.grad(sigma**2 / 2 - sigma.log(), sigma)[0]
    return {"z": z.flatten().tolist(), **{name: value.item() for name, value in numbers.items()}}
