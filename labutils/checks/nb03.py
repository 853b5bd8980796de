"""Checks of notebook 03: drawing z, its gradients, and the KL divergence."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import AffineTransform, Normal
from torch.distributions import kl_divergence as kl_of_torch

from labutils.checks.core import Answer, agree, exercise

SHAPES = ((4, 12), (2, 3, 5, 7))  # (B, N) and (B, N, h, w), h != w


def _posterior(shape: tuple[int, ...], g: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random mu and logvar that are neither 0 nor 1 anywhere; gradients must be able to reach them."""
    return torch.randn(shape, generator=g).requires_grad_(), (torch.randn(shape, generator=g) - 0.7).requires_grad_()


def _sigma(logvar: Tensor) -> Tensor:
    return torch.exp(logvar / 2)


def _draw(mu: Tensor, logvar: Tensor, eps: Tensor) -> Tensor:
    return AffineTransform(mu, _sigma(logvar))(eps)


@exercise("3.1", "reparameterize", _draw, {
    "exp(logvar) is the variance; sigma is its square root, exp(logvar / 2)": lambda m, v, e: m + v.exp() * e,
    "logvar itself is not sigma: take exp(logvar / 2)": lambda m, v, e: m + v * e,
    "logvar / 2 is log sigma: the exponential is missing": lambda m, v, e: m + v / 2 * e,
    "exp(2 logvar): a square root halves the logarithm, it does not double it": lambda m, v, e: m + (2 * v).exp() * e,
    "the sign in the exponent is wrong: this is 1 / sigma": lambda m, v, e: m + _sigma(-v) * e,
    "eps is not used, so nothing is random": lambda m, v, e: m,
    "mu is missing": lambda m, v, e: _sigma(v) * e,
    "sigma is missing: every z has variance 1": lambda m, v, e: m + e,
    "mu and sigma are swapped": lambda m, v, e: _sigma(v) + m * e,
    "mu is multiplied by sigma too": lambda m, v, e: (m + e) * _sigma(v),
})  # fmt: skip
def reparameterize(answer: Any, g: torch.Generator) -> None:
    """(mu, logvar, eps) -> z; against an affine transform of torch.distributions, gradients included."""
    for shape in SHAPES:
        agree(f"z for mu of shape {shape}", answer, _draw, *_posterior(shape, g), torch.randn(shape, generator=g))


def _cost(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(q || N(0, 1)) of each element."""
    return kl_of_torch(Normal(mu, _sigma(logvar)), Normal(0.0, 1.0))


def _kl(mu: Tensor, logvar: Tensor, each: Answer = _cost, over: Answer = lambda kl: kl.flatten(1).sum(1)) -> Tensor:
    return over(each(mu, logvar))


@exercise("3.2", "the KL divergence", _kl, {
    "averaged over z; KL is a SUM over the dimensions of z": dict(over=lambda kl: kl.flatten(1).mean(1)),
    "summed over the batch too; keep one value for each item, (B,)": dict(over=torch.sum),
    "averaged over the batch; keep one value for each item, (B,)": dict(over=lambda kl: kl.sum() / len(kl)),
    "averaged over everything; sum over z, and keep one value for each item, (B,)": dict(over=torch.mean),
    "not summed at all; sum over everything but the batch": _cost,
    "summed over the batch; sum over everything else": dict(over=lambda kl: kl.sum(0)),
    "only the last dimension is summed; flatten(1) reaches all": dict(over=lambda kl: kl.sum(-1)),
    "only dimension 1 is summed; z has more of them: flatten(1) reaches all": dict(over=lambda kl: kl.sum(1)),
    "the factor 1/2 is missing": dict(each=lambda m, v: 2 * _cost(m, v)),
    "the sign is wrong: KL is never negative": dict(each=lambda m, v: -_cost(m, v)),
    "this is KL(p || q); q comes first":
        dict(each=lambda m, v: kl_of_torch(Normal(torch.zeros_like(m), 1.0), Normal(m, _sigma(v)))),
    "logvar is taken for log sigma": dict(each=lambda m, v: _cost(m, 2 * v)),
    "log sigma is taken for log sigma^2": dict(each=lambda m, v: 0.5 * (m**2 + v.exp() - 1 - v / 2)),
    "sigma is taken for sigma^2: exp(logvar), not exp(logvar / 2)":
        dict(each=lambda m, v: 0.5 * (m**2 + _sigma(v) - 1 - v)),
    "mu must be squared": dict(each=lambda m, v: 0.5 * (m + v.exp() - 1 - v)),
    "the term -1 is missing": dict(each=lambda m, v: 0.5 * (m**2 + v.exp() - v)),
    "the term log sigma^2 has the wrong sign": dict(each=lambda m, v: 0.5 * (m**2 + v.exp() - 1 + v)),
    "logvar is the logarithm already: no further log":
        dict(each=lambda m, v: 0.5 * (m**2 + v.exp() - 1 - v.abs().log())),
    "this is in bits; nats come from the natural logarithm": dict(each=lambda m, v: _cost(m, v) / math.log(2)),
})  # fmt: skip
def kl_divergence(answer: Any, g: torch.Generator) -> None:
    """(mu, logvar) of shape (B, ...) -> (B,) nats; against torch.distributions."""
    for shape in (*SHAPES, (3, 2, 4)):
        agree(f"KL for mu of shape {shape}", answer, _kl, *_posterior(shape, g))


def _log_ratio(q: Normal, z: Tensor, z_of_q: Tensor | None = None) -> Tensor:
    """log q - log p at z, of each element."""
    return q.log_prob(z if z_of_q is None else z_of_q) - Normal(0.0, 1.0).log_prob(z)


def _estimate(
    mu: Tensor, logvar: Tensor, eps: Tensor, each: Answer = lambda q, z, eps: _log_ratio(q, z),
    over: Answer = lambda ratio: ratio.sum(-1).mean(0), scale: Answer = _sigma, spread: Answer = _sigma,
) -> Tensor:  # fmt: skip
    """Of which function the average is taken, over what; sigma of q, and that of the draws."""
    return over(each(Normal(mu, scale(logvar)), mu + spread(logvar) * eps, eps))


@exercise("3.3", "KL by Monte Carlo", _estimate, {
    "this is the closed form; the exercise asks for the average over the draws":
        lambda mu, logvar, eps: _cost(mu, logvar).sum(-1),
    "averaged over z; sum over the dimensions of z, average over the draws":
        dict(over=lambda ratio: ratio.mean(-1).mean(0)),
    "summed over the draws; average over them": dict(over=lambda ratio: ratio.sum(-1).sum(0)),
    "summed over the draws, averaged over z: it is the other way round": dict(over=lambda ratio: ratio.mean(-1).sum(0)),
    "not averaged over the draws; .mean(0)": dict(over=lambda ratio: ratio.sum(-1)),
    "not summed over z; .sum(-1)": dict(over=lambda ratio: ratio.mean(0)),
    "averaged over the batch too; keep one value for each item, (B,)": dict(over=lambda ratio: ratio.sum(-1).mean()),
    "the batch is averaged and the draws are kept; dimension 0 holds the draws":
        dict(over=lambda ratio: ratio.sum(-1).mean(1)),
    "the sign is wrong: log q - log p": dict(each=lambda q, z, eps: -_log_ratio(q, z)),
    "log p has to be evaluated at z, not at eps": dict(each=lambda q, z, eps: _log_ratio(q, eps, z)),
    "log q has to be evaluated at z, not at eps": dict(each=lambda q, z, eps: _log_ratio(q, z, eps)),
    "the draws come from the prior; draw z = mu + sigma eps from q": dict(each=lambda q, z, eps: _log_ratio(q, eps)),
    "exp(logvar) is the variance; Normal wants sigma": dict(scale=torch.exp),
    "exp(logvar) is the variance; both z and Normal want sigma": dict(scale=torch.exp, spread=torch.exp),
    "exp(logvar) is the variance; z = mu + exp(logvar / 2) eps": dict(spread=torch.exp),
    "log q lacks its -1/2 log sigma^2": dict(each=lambda q, z, eps: _log_ratio(q, z) + q.scale.log()),
    "this is log q alone: subtract log p": dict(each=lambda q, z, eps: q.log_prob(z)),
    "this is log p alone": dict(each=lambda q, z, eps: Normal(0.0, 1.0).log_prob(z)),
    "densities are subtracted; take their logarithms":
        dict(each=lambda q, z, eps: q.log_prob(z).exp() - Normal(0.0, 1.0).log_prob(z).exp()),
})  # fmt: skip
def kl_monte_carlo(answer: Any, g: torch.Generator) -> None:
    """(mu, logvar (B, N), eps (n, B, N)) -> (B,) nats; against log densities of torch.distributions."""
    for n, B, N in ((50, 4, 3), (7, 5, 12)):
        mu, logvar = _posterior((B, N), g)
        eps = torch.randn(n, B, N, generator=g)
        agree(f"estimate from {n} draws", answer, _estimate, mu, logvar, eps)


def _gradients(mu: Tensor, logvar: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
    return torch.ones_like(mu), eps * _sigma(logvar) / 2


def _by_logvar(slope: Answer) -> Answer:
    """An answer to 3.4 whose derivative by mu is right."""
    return lambda mu, logvar, eps: (torch.ones_like(mu), slope(mu, logvar, eps))


@exercise("3.4", "the gradient of z by hand", _gradients, {
    "right as a number; as a tensor of the shape of mu it is torch.ones_like(mu)": lambda m, v, e: (1.0, 0),
    "z = mu + ...: the derivative by mu is 1, whatever mu is": lambda m, v, e: (m, 0),
    "mu does change z: by 1 for each unit": lambda m, v, e: (0 * m, 0),
    "the order is (dz_dmu, dz_dlogvar)": lambda m, v, e: _gradients(m, v, e)[::-1],
    "this is z itself": lambda m, v, e: (_draw(m, v, e), 0),
    "the factor 1/2 from the inner derivative of exp(logvar / 2) is missing": _by_logvar(lambda m, v, e: e * _sigma(v)),
    "this is the derivative by sigma; go on by the chain rule: d sigma / d logvar = sigma / 2":
        _by_logvar(lambda m, v, e: e),
    "eps is missing: sigma / 2 is the derivative of sigma, not of z": _by_logvar(lambda m, v, e: _sigma(v) / 2),
    "exp(logvar) is the variance; sigma = exp(logvar / 2) stands here": _by_logvar(lambda m, v, e: e * v.exp() / 2),
    "exp(logvar) is the variance, and the factor 1/2 is missing": _by_logvar(lambda m, v, e: e * v.exp()),
    "this is the derivative by the variance; asked is that by its logarithm":
        _by_logvar(lambda m, v, e: e / (2 * _sigma(v))),
    "the exponential stays: exp(logvar / 2) differentiates to itself, times 1/2": _by_logvar(lambda m, v, e: e / 2),
    "this is the gradient of KL by logvar; asked is that of z": _by_logvar(lambda m, v, e: (v.exp() - 1) / 2),
    "mu does not depend on logvar; its derivative is 0, not 1": _by_logvar(lambda m, v, e: 1 + e * _sigma(v) / 2),
    "mu does not depend on logvar: it drops out": _by_logvar(lambda m, v, e: m + e * _sigma(v) / 2),
})  # fmt: skip
def latent_gradients(answer: Any, g: torch.Generator) -> None:
    """(mu, logvar, eps) -> (dz/dmu, dz/dlogvar), element by element."""
    for shape in SHAPES:
        mu, logvar = (value.detach() for value in _posterior(shape, g))
        given = mu, logvar, torch.randn(shape, generator=g)
        agree(f"for mu of shape {shape}", answer, _gradients, *given, parts=("dz_dmu", "dz_dlogvar"))
