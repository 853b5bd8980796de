"""Checks of notebook 04, on the linear-Gaussian model, whose log p(x|c) is known exactly.

z ~ N(0, I) and x = W z + U c + b + noise, noise ~ N(0, sigma_x^2 I); W (D, K), U (D, C), b (D,), all float64.
An answer may add a jitter of 1e-6 to the diagonal of a covariance.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal

from labutils.checks.core import Answer, agree, exercise


def _problem(g: torch.Generator) -> tuple[Tensor, Tensor, tuple[Any, ...]]:
    """x (7, 5), c (7, 2) drawn from a random model with D = 5, K = 3, C = 2; W, U, b, sigma_x."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    sigma_x = 0.4 + 0.3 * torch.rand((), generator=g).item()
    W, U, b, c = draw(5, 3), draw(5, 2), draw(5), draw(7, 2)
    return draw(7, 3) @ W.mT + c @ U.mT + b + sigma_x * draw(7, 5), c, (W, U, b, sigma_x)


def _evidence(
    x: Tensor, c: Tensor, W: Tensor, U: Tensor, b: Tensor, sigma_x: float,
    mean: Answer = lambda c, U, b: c @ U.mT + b, noise: Answer = lambda s: s**2, latent: float = 1.0, half: float = 0.5,
    constant: float = 1.0, whole: Answer = lambda cov: cov, last: Answer = lambda log_p: log_p,
) -> Tensor:  # fmt: skip
    cov = whole(latent * W @ W.mT + noise(sigma_x) * torch.eye(len(b), dtype=x.dtype))  # (D, D)
    r = x - mean(c, U, b)  # (B, D)
    quadratic = (r * torch.linalg.solve(cov, r.mT).mT).sum(1)  # (B,)
    return last(-quadratic / 2 - half * torch.logdet(cov) - constant * len(b) / 2 * math.log(2 * math.pi))


@exercise("4.1", "log p(x|c) of the linear-Gaussian model", _evidence, {
    "that is log p(x | z = 0, c): z adds W W^T to the covariance": dict(latent=0.0),
    "the noise adds sigma_x^2 I, not sigma_x I": dict(noise=lambda s: s),
    "the mean of x given c is U c + b; c is missing": dict(mean=lambda c, U, b: b),
    "the mean of x given c is U c + b; b is missing": dict(mean=lambda c, U, b: c @ U.mT),
    "x is not centred: subtract its mean U c + b": dict(mean=lambda c, U, b: 0),
    "W W^T is not diagonal: z makes the elements of x depend on each other":
        dict(whole=lambda cov: cov.diag().diag()),
    "the constant -D/2 log(2 pi) is missing": dict(constant=0.0),
    "the half in front of the log determinant is missing": dict(half=1.0),
    "the sign: this is the negative log density": dict(last=torch.neg),
    "summed over the batch; keep one number for each row": dict(last=torch.sum),
    "averaged over the batch; keep one number for each row": dict(last=torch.mean),
    "this is the density, not its logarithm": dict(last=torch.exp),
})  # fmt: skip
def log_evidence(answer: Any, g: torch.Generator) -> None:
    """answer(x, c, W, U, b, sigma_x) -> (B,), the marginal Gaussian's log density."""
    x, c, model = _problem(g)
    agree("log p(x|c)", answer, _evidence, x, c, *model)


def _posterior(
    x: Tensor, c: Tensor, W: Tensor, U: Tensor, b: Tensor, sigma_x: float,
    prior: float = 1.0, data: Answer = lambda s: s**2, r: Answer = lambda x, c, U, b: x - c @ U.mT - b,
    gain: Answer = lambda s: s**2, mean: Answer = lambda Wr, cov, W: Wr @ cov, cov: Answer = torch.linalg.inv,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    precision = prior * torch.eye(W.shape[1], dtype=x.dtype) + W.mT @ W / data(sigma_x)  # (K, K)
    return mean(r(x, c, U, b) @ W / gain(sigma_x), torch.linalg.inv(precision), W), cov(precision)


@exercise("4.2", "the true posterior", _posterior, {
    "that is the precision; the covariance is its inverse": dict(cov=lambda precision: precision),
    "W^T W is not diagonal: invert the precision as a matrix":
        dict(cov=lambda precision: precision.diag().diag().inverse()),
    "the elements of z depend on each other, given x: keep the whole covariance, not its diagonal":
        dict(cov=lambda precision: precision.inverse().diag().diag()),
    "these are the K variances; return the whole covariance, (K, K)":
        dict(cov=lambda precision: precision.inverse().diag()),
    "the prior adds I to the precision": dict(prior=0.0),
    "the data's precision is W^T W / sigma_x^2, not / sigma_x": dict(data=lambda s: s),
    "the data's precision is W^T W / sigma_x^2; the division is missing": dict(data=lambda s: 1),
    "subtract U c + b from x first: z explains only what c does not": dict(r=lambda x, c, U, b: x),
    "U c is not subtracted from x": dict(r=lambda x, c, U, b: x - b),
    "b is not subtracted from x": dict(r=lambda x, c, U, b: x - c @ U.mT),
    "the factor 1 / sigma_x^2 is missing": dict(gain=lambda s: 1),
    "divide by sigma_x^2, not by sigma_x": dict(gain=lambda s: s),
    "that is W^T r / sigma_x^2; the covariance in front is missing": dict(mean=lambda Wr, cov, W: Wr),
    "that is least squares (W^T W)^-1 W^T r, without the prior":
        dict(gain=lambda s: 1, mean=lambda Wr, cov, W: Wr @ torch.linalg.inv(W.mT @ W)),
})  # fmt: skip
def true_posterior(answer: Any, g: torch.Generator) -> None:
    """answer(x, c, W, U, b, sigma_x) -> mean (B, K), covariance (K, K)."""
    for _ in range(2):  # with elements below 0 in one of the two
        x, c, model = _problem(g)
        agree("of p(z|x,c)", answer, _posterior, x, c, *model, parts=("mean", "cov"), order=(1, 0))


def _bound(
    x: Tensor, c: Tensor, mu: Tensor, logvar: Tensor, W: Tensor, U: Tensor, b: Tensor, sigma_x: float,
    variance: Answer = torch.exp, spread: float = 1.0, constant: Answer = lambda s: math.log(2 * math.pi * s**2),
    kl_weight: float = 1.0, kl_half: float = 0.5, kl_over: Answer = lambda kl: kl.sum(1),
    r: Answer = lambda x, c, U, b: x - c @ U.mT - b, last: Answer = lambda bound: bound,
) -> Tensor:  # fmt: skip
    squared = (r(x, c, U, b) - mu @ W.mT).square().sum(1)  # (B,)
    error = squared + spread * variance(logvar) @ W.square().sum(0)
    kl = kl_over(kl_half * (mu**2 + logvar.exp() - 1 - logvar))
    return last(-x.shape[1] / 2 * constant(sigma_x) - error / (2 * sigma_x**2) - kl_weight * kl)


@exercise("4.3", "the bound in closed form", _bound, {
    "log p(x | z = mu, c) is not its mean under q: add the spread of W z": dict(spread=0.0),
    "subtract U c + b from x first: z explains only what c does not": dict(r=lambda x, c, U, b: x),
    "U c is not subtracted from x": dict(r=lambda x, c, U, b: x - b),
    "b is not subtracted from x": dict(r=lambda x, c, U, b: x - c @ U.mT),
    "KL is subtracted, not added": dict(kl_weight=-1.0),
    "KL is missing": dict(kl_weight=0.0),
    "the half in front of KL is missing": dict(kl_half=1.0),
    "KL is summed over the K dimensions of z, not averaged": dict(kl_over=lambda kl: kl.mean(1)),
    "logvar is log sigma^2: its exponential is the variance, do not square it":
        dict(variance=lambda logvar: (2 * logvar).exp()),
    "the constant -D/2 log(2 pi sigma_x^2) is missing": dict(constant=lambda s: 0.0),
    "the constant is -D/2 log(2 pi sigma_x^2): sigma_x^2 is missing in it":
        dict(constant=lambda s: math.log(2 * math.pi)),
    "the spread of z needs the factor 1/2, like the squared error": dict(spread=2.0),
    "this is -L, the loss": dict(last=torch.neg),
    "summed over the batch; keep one number for each row": dict(last=torch.sum),
    "averaged over the batch; keep one number for each row": dict(last=torch.mean),
})  # fmt: skip
def elbo(answer: Any, g: torch.Generator) -> None:
    """answer(x, c, mu, logvar, W, U, b, sigma_x) -> (B,), for q = N(mu, diag(exp(logvar)))."""
    x, c, (*weights, sigma_x) = _problem(g)
    mu, logvar = torch.randn(2, 7, 3, generator=g, dtype=torch.float64)  # (B, K)
    learned = [value.requires_grad_() for value in (mu.clone(), logvar.clone(), *weights)]
    agree("the bound L", answer, _bound, x, c, *learned, sigma_x)


def _weight(sigma_x: float, H: int, W: int) -> float:
    """-L = a * squared error + KL + constant; a from the density itself, and the squared error is 3 H W MSE."""
    at_0, at_1 = Normal(0.0, sigma_x).log_prob(torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist()
    return 1 / ((at_0 - at_1) * 3 * H * W)


@exercise("4.4", "the weight of KL beside the MSE", _weight, {
    "this is 1 / weight: scale the whole of -L so that the factor before the MSE becomes 1":
        lambda s, H, W: 1 / _weight(s, H, W),
    "an image has 3 channels: the mean is over 3 H W numbers": lambda s, H, W: 3 * _weight(s, H, W),
    "the square of sigma_x belongs here: 1 / (2 sigma_x^2) stands before the squared error":
        lambda s, H, W: 2 * s / (3 * H * W),
    "the 2 of 1 / (2 sigma_x^2) is missing": lambda s, H, W: _weight(s, H, W) / 2,
    "the 2 of 1 / (2 sigma_x^2) has to go to the numerator": lambda s, H, W: _weight(s, H, W) / 4,
    "this weight fits the summed squared error; the MSE is a mean over 3 H W": lambda s, H, W: _weight(s, 1, 1) * 3,
    "sigma_x is missing: this is right for sigma_x = 1 only": lambda s, H, W: _weight(1.0, H, W),
    "the factor before KL is 2 sigma_x^2 over 3 H W, not times": lambda s, H, W: 2 * s**2 * 3 * H * W,
})  # fmt: skip
def kl_weight(answer: Any, g: torch.Generator) -> None:
    """answer(sigma_x, H, W) -> a number, so that MSE + weight KL is proportional to -L."""
    for _ in range(3):
        sigma_x = 0.02 + torch.rand((), generator=g).item()
        H, W = (8 * int(n) for n in torch.randint(2, 12, (2,), generator=g))
        W += 8 * (H == W)
        what = f"weight for sigma_x = {sigma_x:.3f}, H = {H}, W = {W}"
        agree(what, answer, _weight, sigma_x, H, W, rtol=1e-6, atol=0)
