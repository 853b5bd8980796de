"""The latent z: drawing it so that gradients pass, and what it costs."""

import torch
from torch import Tensor


def reparameterize(mu: Tensor, logvar: Tensor, eps: Tensor | None = None) -> Tensor:
    """Draw z ~ N(mu, sigma^2) as z = mu + sigma * eps, eps ~ N(0, I), so that gradients reach mu and logvar.

    Kingma & Welling, "Auto-Encoding Variational Bayes" (ICLR 2014), section 2.4.

    Args:
        mu, logvar: any equal shape; logvar = log sigma^2.
        eps: standard normal noise of the same shape; drawn here if it is not given.
    """
    if eps is None:
        eps = torch.randn_like(mu)
    return mu + torch.exp(0.5 * logvar) * eps


def kl_divergence(mu: Tensor, logvar: Tensor, prior: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """KL(N(mu, sigma^2) || p) in nats, summed over the latent: (B, ...) -> (B,).

    p is N(0, I), or N(m, s^2) with ``prior`` = (m, log s^2), each of mu's shape.

    Kingma & Welling (ICLR 2014), appendix B: 1/2 sum(mu^2 + sigma^2 - 1 - log sigma^2).  expm1 gives sigma^2 - 1
    without the rounding error that a difference of two nearly equal numbers has.
    """
    if prior is not None:  # measured in units of the prior: (mu - m) / s and sigma^2 / s^2
        mu, logvar = (mu - prior[0]) * torch.exp(-0.5 * prior[1]), logvar - prior[1]
    return 0.5 * (mu.square() + torch.expm1(logvar) - logvar).flatten(1).sum(1)
