"""Checks of notebook 03: drawing z, its gradients, and the KL divergence."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import AffineTransform, Normal
from torch.distributions import kl_divergence as kl_of_torch

from labutils.checks.core import call, compare, exercise, fail, require, same

SHAPES = ((4, 12), (2, 3, 5, 7))  # (B, N) and (B, N, h, w), h != w


def _posterior(shape: tuple[int, ...], g: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random mu and logvar that are neither 0 nor 1 anywhere."""
    return torch.randn(shape, generator=g), torch.randn(shape, generator=g) - 0.7


def _normal(mu: Tensor, logvar: Tensor) -> Normal:
    return Normal(mu, logvar.exp().sqrt())


@exercise("3.1", "reparameterize")
def reparameterize(answer: Any, g: torch.Generator) -> None:
    """(mu, logvar, eps) -> z; against an affine transform of torch.distributions, gradients included."""
    for shape in SHAPES:
        mu, logvar = _posterior(shape, g)
        eps = torch.randn(shape, generator=g)
        sigma = logvar.exp().sqrt()
        given = [mu.clone().requires_grad_(), logvar.clone().requires_grad_()]
        got = call(answer, *(v.clone() for v in given), eps.clone())  # clones: the answer may work in place
        mistakes = {
            "exp(logvar) is the variance; sigma is its square root, exp(logvar / 2)": mu + sigma**2 * eps,
            "logvar itself is not sigma: take exp(logvar / 2)": mu + logvar * eps,
            "logvar / 2 is log sigma: the exponential is missing": mu + logvar / 2 * eps,
            "exp(2 logvar): a square root halves the logarithm, it does not double it": mu + sigma**4 * eps,
            "the sign in the exponent is wrong: this is 1 / sigma": mu + eps / sigma,
            "eps is not used, so nothing is random": mu,
            "mu is missing": sigma * eps,
            "sigma is missing: every z has variance 1": mu + eps,
            "mu and sigma are swapped": sigma + mu * eps,
            "mu is multiplied by sigma too": (mu + eps) * sigma,
        }
        if isinstance(got, Tensor) and got.shape == mu.shape and not same(got, _alone(answer, mu, logvar, eps)):
            mistakes["the noise is drawn anew in every call; use the eps that is handed in"] = got.detach().clone()
        compare(f"z for mu of shape {tuple(shape)}", got, AffineTransform(mu, sigma)(eps), mistakes)
        require(
            got.requires_grad, "a z that gradients can pass", "a z cut off from the graph",
            "no detach(), no torch.no_grad(), no .data, no Normal(...).sample()",
        )  # fmt: skip
        for name, value in zip(("mu", "logvar"), given):
            try:
                (gradient,) = torch.autograd.grad(got.sum(), value, retain_graph=True, allow_unused=True)
            except RuntimeError as error:
                fail(
                    f"a gradient of z by {name}", str(error).partition(":")[0],
                    "an operation in place (exp_, mul_, …) overwrote what the backward pass needs; use exp, *, +",
                )  # fmt: skip
            require(
                gradient is not None and gradient.any(), f"a gradient of z by {name}", "none",
                f"{name} was detached on the way: no detach(), no .data, no .item()",
            )  # fmt: skip


def _alone(answer: Any, mu: Tensor, logvar: Tensor, eps: Tensor) -> Any:
    return call(answer, mu.clone(), logvar.clone(), eps.clone())


@exercise("3.2", "the KL divergence")
def kl_divergence(answer: Any, g: torch.Generator) -> None:
    """(mu, logvar) of shape (B, ...) -> (B,) nats; against torch.distributions."""
    for shape in (*SHAPES, (3, 2, 4)):
        mu, logvar = _posterior(shape, g)
        q, p, var = _normal(mu, logvar), Normal(0.0, 1.0), logvar.exp()

        def summed(kl: Tensor) -> Tensor:  # (B, ...) -> (B,)
            return kl.flatten(1).sum(1)

        each = kl_of_torch(q, p)  # (B, ...)
        expected = summed(each)
        wrong = {  # element by element
            "the factor 1/2 is missing": 2 * each,
            "the sign is wrong: KL is never negative": -each,
            "this is KL(p || q); q comes first": kl_of_torch(Normal(0.0, 1.0).expand(shape), q),
            "logvar is taken for log sigma": 0.5 * (mu**2 + var**2 - 1 - 2 * logvar),
            "log sigma is taken for log sigma^2": 0.5 * (mu**2 + var - 1 - logvar / 2),
            "sigma is taken for sigma^2: exp(logvar), not exp(logvar / 2)": 0.5 * (mu**2 + var.sqrt() - 1 - logvar),
            "mu must be squared": 0.5 * (mu + var - 1 - logvar),
            "the term -1 is missing": 0.5 * (mu**2 + var - logvar),
            "the term log sigma^2 has the wrong sign": 0.5 * (mu**2 + var - 1 + logvar),
            "logvar is the logarithm already: no further log": 0.5 * (mu**2 + var - 1 - logvar.abs().log()),
            "this is in bits; nats come from the natural logarithm": each / math.log(2),
        }
        mistakes = {
            "averaged over z; KL is a SUM over the dimensions of z": each.flatten(1).mean(1),
            "summed over the batch too; keep one value for each item, (B,)": each.sum(),
            "averaged over the batch; keep one value for each item, (B,)": expected.mean(),
            "averaged over everything; sum over z, and keep one value for each item, (B,)": each.mean(),
            "not summed at all; sum over everything but the batch": each,
            "summed over the batch; sum over everything else": each.sum(0),
            "only the last dimension is summed; flatten(1) reaches all": each.sum(-1),
            "only dimension 1 is summed; z has more of them: flatten(1) reaches all": each.sum(1),
        } | {hint: summed(value) for hint, value in wrong.items()}
        got = call(answer, mu.clone(), logvar.clone())
        compare(f"KL for mu of shape {tuple(shape)}", got, expected, mistakes)


@exercise("3.3", "KL by Monte Carlo")
def kl_monte_carlo(answer: Any, g: torch.Generator) -> None:
    """(mu, logvar (B, N), eps (n, B, N)) -> (B,) nats; against log densities of torch.distributions."""
    for n, B, N in ((50, 4, 3), (7, 5, 12)):
        mu, logvar = _posterior((B, N), g)
        eps = torch.randn(n, B, N, generator=g)
        q, p = _normal(mu, logvar), Normal(0.0, 1.0)
        sigma = q.scale
        z = mu + sigma * eps  # (n, B, N)
        ratio = q.log_prob(z) - p.log_prob(z)  # (n, B, N)
        variance = mu + logvar.exp() * eps  # draws with the variance in place of sigma
        wide = Normal(mu, logvar.exp())
        wrong = {  # element by element, (n, B, N)
            "the sign is wrong: log q - log p": -ratio,
            "log p has to be evaluated at z, not at eps": q.log_prob(z) - p.log_prob(eps),
            "log q has to be evaluated at z, not at eps": q.log_prob(eps) - p.log_prob(z),
            "the draws come from the prior; draw z = mu + sigma eps from q": q.log_prob(eps) - p.log_prob(eps),
            "exp(logvar) is the variance; Normal wants sigma": wide.log_prob(z) - p.log_prob(z),
            "exp(logvar) is the variance; both z and Normal want sigma": wide.log_prob(variance) - p.log_prob(variance),
            "exp(logvar) is the variance; z = mu + exp(logvar / 2) eps": q.log_prob(variance) - p.log_prob(variance),
            "log q lacks its -1/2 log sigma^2": ratio + logvar / 2,
            "this is log q alone: subtract log p": q.log_prob(z),
            "this is log p alone": p.log_prob(z),
            "densities are subtracted; take their logarithms": q.log_prob(z).exp() - p.log_prob(z).exp(),
        }
        mistakes = {
            "this is the closed form; the exercise asks for the average over the draws": kl_of_torch(q, p).sum(-1),
            "averaged over z; sum over the dimensions of z, average over the draws": ratio.mean(-1).mean(0),
            "summed over the draws; average over them": ratio.sum(-1).sum(0),
            "summed over the draws, averaged over z: it is the other way round": ratio.mean(-1).sum(0),
            "not averaged over the draws; .mean(0)": ratio.sum(-1),
            "not summed over z; .sum(-1)": ratio.mean(0),
            "averaged over the batch too; keep one value for each item, (B,)": ratio.sum(-1).mean(),
            "the batch is averaged and the draws are kept; dimension 0 holds the draws": ratio.sum(-1).mean(1),
        } | {hint: value.sum(-1).mean(0) for hint, value in wrong.items()}
        got = call(answer, mu.clone(), logvar.clone(), eps.clone())
        compare(f"estimate from {n} draws", got, ratio.sum(-1).mean(0), mistakes)


@exercise("3.4", "the gradient of z by hand")
def latent_gradients(answer: Any, g: torch.Generator) -> None:
    """(mu, logvar, eps) -> (dz/dmu, dz/dlogvar), element by element; against autograd."""
    for shape in SHAPES:
        mu, logvar = (v.requires_grad_() for v in _posterior(shape, g))
        eps = torch.randn(shape, generator=g)
        z = AffineTransform(mu, logvar.exp().sqrt())(eps)
        expected = torch.autograd.grad(z.sum(), (mu, logvar))  # each z depends on its own mu and logvar only
        m, v = mu.detach(), logvar.detach()
        sigma = v.exp().sqrt()
        got = call(answer, m.clone(), v.clone(), eps.clone())
        pair = isinstance(got, (tuple, list)) and len(got) == 2
        form = "return dz_dmu, dz_dlogvar"
        require(pair, "two tensors, (dz_dmu, dz_dlogvar)", type(got).__name__, f"end with `{form}`")
        compare(
            "dz/dmu",
            got[0],
            expected[0],
            {
                "right as a number; as a tensor of the shape of mu it is torch.ones_like(mu)": 1.0,
                "z = mu + ...: the derivative by mu is 1, whatever mu is": m,
                "mu does change z: by 1 for each unit": torch.zeros_like(m),
                "the order is (dz_dmu, dz_dlogvar)": expected[1],
                "this is the gradient of KL by mu; asked is that of z": m,
                "this is z itself": z.detach(),
            },
        )
        compare(
            "dz/dlogvar",
            got[1],
            expected[1],
            {
                "the factor 1/2 from the inner derivative of exp(logvar / 2) is missing": eps * sigma,
                "this is the derivative by sigma; go on by the chain rule: d sigma / d logvar = sigma / 2": eps,
                "eps is missing: sigma / 2 is the derivative of sigma, not of z": sigma / 2,
                "exp(logvar) is the variance; sigma = exp(logvar / 2) stands here": eps * v.exp() / 2,
                "exp(logvar) is the variance, and the factor 1/2 is missing": eps * v.exp(),
                "this is the derivative by the variance; asked is that by its logarithm": eps / (2 * sigma),
                "the exponential stays: exp(logvar / 2) differentiates to itself, times 1/2": eps / 2,
                "this is the gradient of KL by logvar; asked is that of z": 0.5 * (v.exp() - 1),
                "mu does not depend on logvar; its derivative is 0, not 1": 1 + eps * sigma / 2,
                "mu does not depend on logvar: it drops out": m + eps * sigma / 2,
            },
        )
