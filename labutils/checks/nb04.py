"""Checks of notebook 04, and the model its derivation is verified on: a CVAE whose log p(x|c) is known exactly."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from labutils.checks.core import call, compare, exercise, require


@dataclass(frozen=True)
class LinearGaussian:
    """The linear-Gaussian CVAE: z ~ N(0, I) and x = W z + U c + b + noise, noise ~ N(0, sigma_x^2 I).

    (z, x) is one Gaussian given c, so log p(x|c) and p(z|x,c) follow from its blocks.  Without c this is
    probabilistic PCA: Tipping & Bishop, "Probabilistic principal component analysis" (JRSS B 1999).

    Attributes:
        W: (D, K).  U: (D, C).  b: (D,).  All float64.
        sigma_x: standard deviation of the noise, a number.
    """

    W: Tensor
    U: Tensor
    b: Tensor
    sigma_x: float

    @classmethod
    def random(cls, D: int, K: int, C: int, generator: torch.Generator, sigma_x: float = 0.5) -> "LinearGaussian":
        """A model whose parameters are standard normal draws."""
        W, U, b = (torch.randn(D, n, generator=generator, dtype=torch.float64) for n in (K, C, 1))
        return cls(W, U, b[:, 0], sigma_x)

    def replace(self, **changes: Any) -> "LinearGaussian":
        """A copy with some parameters changed."""
        return replace(self, **changes)

    def mean(self, c: Tensor) -> Tensor:
        """E[x | c]: (B, C) -> (B, D)."""
        return c @ self.U.mT + self.b

    def sample(self, c: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """One z (B, K) and x (B, D) for each row of c (B, C)."""
        (D, K), B = self.W.shape, len(c)
        z = torch.randn(B, K, generator=generator, dtype=c.dtype)
        noise = torch.randn(B, D, generator=generator, dtype=c.dtype)
        return z, self.mean(c) + z @ self.W.mT + self.sigma_x * noise

    def log_evidence(self, x: Tensor, c: Tensor) -> Tensor:
        """log p(x|c) in nats, exact: x (B, D), c (B, C) -> (B,)."""
        eye = torch.eye(len(self.b), dtype=x.dtype)
        return MultivariateNormal(self.mean(c), self.W @ self.W.mT + self.sigma_x**2 * eye).log_prob(x)

    def posterior(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (B, K) and covariance (K, K) of p(z|x,c), by conditioning the joint Gaussian of (z, x) on x."""
        cov_xx = self.W @ self.W.mT + self.sigma_x**2 * torch.eye(len(self.b), dtype=x.dtype)  # (D, D)
        gain = torch.linalg.solve(cov_xx, self.W).mT  # (K, D): cov_zx cov_xx^-1, cov_zx = W^T
        return (x - self.mean(c)) @ gain.mT, torch.eye(self.W.shape[1], dtype=x.dtype) - gain @ self.W

    def log_likelihood(self, x: Tensor, z: Tensor, c: Tensor) -> Tensor:
        """log p(x|z,c) in nats: x (..., D), z (..., K), c (..., C) -> (...)."""
        return Normal(self.mean(c) + z @ self.W.mT, self.sigma_x).log_prob(x).sum(-1)

    def elbo(self, x: Tensor, c: Tensor, mu: Tensor, cov: Tensor) -> Tensor:
        """E_q log p(x|z,c) - KL(q || N(0, I)) in nats for q = N(mu, cov), exact: mu (B, K), cov (..., K, K) -> (B,)."""
        return self.expected_log_likelihood(x, c, mu, cov) - self.kl_to_prior(mu, cov)

    def expected_log_likelihood(self, x: Tensor, c: Tensor, mu: Tensor, cov: Tensor) -> Tensor:
        """E_q log p(x|z,c) in nats for q = N(mu, cov), (B,)."""
        spread = ((self.W.mT @ self.W) * cov).sum((-1, -2))  # trace(W cov W^T)
        return self.log_likelihood(x, mu, c) - spread / (2 * self.sigma_x**2)

    @staticmethod
    def kl_to_prior(mu: Tensor, cov: Tensor) -> Tensor:
        """KL(N(mu, cov) || N(0, I)) in nats, (B,)."""
        prior = MultivariateNormal(torch.zeros_like(mu), torch.eye(mu.shape[-1], dtype=mu.dtype))
        return kl_divergence(MultivariateNormal(mu, cov), prior)


def _problem(g: torch.Generator) -> tuple[LinearGaussian, Tensor, Tensor]:
    """A random model with D = 5, K = 3, C = 2, and x (7, 5), c (7, 2)."""
    model = LinearGaussian.random(5, 3, 2, g, sigma_x=0.4 + 0.3 * torch.rand((), generator=g).item())
    c = torch.randn(7, 2, generator=g, dtype=torch.float64)
    return model, model.sample(c, g)[1], c


def _parts(model: LinearGaussian) -> tuple[Tensor, Tensor, Tensor, float]:
    return model.W.clone(), model.U.clone(), model.b.clone(), model.sigma_x


@exercise("4.1", "log p(x|c) of the linear-Gaussian model")
def log_evidence(answer: Any, g: torch.Generator) -> None:
    """answer(x, c, W, U, b, sigma_x) -> (B,), the marginal Gaussian's log density."""
    model, x, c = _problem(g)
    got = call(answer, x.clone(), c.clone(), *_parts(model))
    expected = model.log_evidence(x, c)
    W, s, D = model.W, model.sigma_x, x.shape[1]
    eye = torch.eye(D, dtype=x.dtype)

    def density(mean: Tensor, cov: Tensor) -> Tensor:
        return MultivariateNormal(mean, cov).log_prob(x)

    cov = W @ W.mT + s**2 * eye
    compare(
        "log p(x|c)", got, expected,
        {
            "that is log p(x | z = 0, c): z adds W W^T to the covariance": density(model.mean(c), s**2 * eye),
            "the noise adds sigma_x^2 I, not sigma_x I": density(model.mean(c), W @ W.mT + s * eye),
            "the mean of x given c is U c + b; c is missing": density(model.b.expand_as(x), cov),
            "the mean of x given c is U c + b; b is missing": density(c @ model.U.mT, cov),
            "the constant -D/2 log(2 pi) is missing": expected + D / 2 * math.log(2 * math.pi),
            "the half in front of the log determinant is missing": expected - torch.logdet(cov) / 2,
            "the sign: this is the negative log density": -expected,
            "summed over the batch; keep one number for each row": expected.sum(),
            "averaged over the batch; keep one number for each row": expected.mean(),
            "this is the density, not its logarithm": expected.exp(),
        },
        rtol=1e-7, atol=1e-9,
    )  # fmt: skip


@exercise("4.2", "the true posterior")
def true_posterior(answer: Any, g: torch.Generator) -> None:
    """answer(x, c, W, U, b, sigma_x) -> mean (B, K), covariance (K, K)."""
    model, x, c = _problem(g)
    got = call(answer, x.clone(), c.clone(), *_parts(model))
    require(
        isinstance(got, (tuple, list)) and len(got) == 2, "two values: mean (B, K) and covariance (K, K)", got,
        "return mean, cov",
    )  # fmt: skip
    mean, cov = model.posterior(x, c)
    W, s = model.W, model.sigma_x
    r, eye = x - model.mean(c), torch.eye(W.shape[1], dtype=x.dtype)
    precision = eye + W.mT @ W / s**2
    compare(
        "covariance of p(z|x,c)", got[1], cov,
        {
            "that is the precision; the covariance is its inverse": precision,
            "the prior adds I to the precision": torch.linalg.inv(W.mT @ W / s**2),
            "the data's precision is W^T W / sigma_x^2, not / sigma_x": torch.linalg.inv(eye + W.mT @ W / s),
            "the data's precision is W^T W / sigma_x^2; the division is missing": torch.linalg.inv(eye + W.mT @ W),
        },
        rtol=1e-7, atol=1e-9,
    )  # fmt: skip
    compare(
        "mean of p(z|x,c)", got[0], mean,
        {
            "subtract U c + b from x first: z explains only what c does not": x @ (cov @ W.mT / s**2).mT,
            "U c is not subtracted from x": (x - model.b) @ (cov @ W.mT / s**2).mT,
            "b is not subtracted from x": (x - c @ model.U.mT) @ (cov @ W.mT / s**2).mT,
            "the factor 1 / sigma_x^2 is missing": r @ (cov @ W.mT).mT,
            "divide by sigma_x^2, not by sigma_x": r @ (cov @ W.mT / s).mT,
            "that is W^T r / sigma_x^2; the covariance in front is missing": r @ W / s**2,
            "that is least squares (W^T W)^-1 W^T r, without the prior": r @ torch.linalg.pinv(W).mT,
        },
        rtol=1e-7, atol=1e-9,
    )  # fmt: skip


@exercise("4.3", "the bound in closed form")
def elbo(answer: Any, g: torch.Generator) -> None:
    """answer(x, c, mu, logvar, W, U, b, sigma_x) -> (B,), for q = N(mu, diag(exp(logvar)))."""
    model, x, c = _problem(g)
    mu, logvar = torch.randn(2, len(x), model.W.shape[1], generator=g, dtype=torch.float64)
    got = call(answer, x.clone(), c.clone(), mu.clone(), logvar.clone(), *_parts(model))
    variance = logvar.exp()
    expected = model.elbo(x, c, mu, torch.diag_embed(variance))
    kl = kl_divergence(Normal(mu, variance.sqrt()), Normal(0.0, 1.0)).sum(-1)  # (B,)
    spread = variance @ model.W.square().sum(0) / (2 * model.sigma_x**2)  # (B,)
    D, s = x.shape[1], model.sigma_x
    wide = logvar.mul(2).exp() @ model.W.square().sum(0) / (2 * s**2)  # with sigma^4
    compare(
        "the bound L", got, expected,
        {
            "log p(x | z = mu, c) is not its mean under q: add the spread of W z": expected + spread,
            "KL is subtracted, not added": expected + 2 * kl,
            "KL is missing": expected + kl,
            "the half in front of KL is missing": expected - kl,
            "KL is summed over the K dimensions of z, not averaged": expected + kl - kl / model.W.shape[1],
            "logvar is log sigma^2: its exponential is the variance, do not square it": expected + spread - wide,
            "the constant -D/2 log(2 pi sigma_x^2) is missing": expected + D / 2 * math.log(2 * math.pi * s**2),
            "the constant is -D/2 log(2 pi sigma_x^2): sigma_x^2 is missing in it": expected + D * math.log(s),
            "the spread of z needs the factor 1/2, like the squared error": expected - spread,
            "this is -L, the loss": -expected,
            "summed over the batch; keep one number for each row": expected.sum(),
            "averaged over the batch; keep one number for each row": expected.mean(),
        },
        rtol=1e-7, atol=1e-9,
    )  # fmt: skip


@exercise("4.4", "the weight of KL beside the MSE")
def kl_weight(answer: Any, g: torch.Generator) -> None:
    """answer(sigma_x, H, W) -> a number, so that MSE + weight KL is proportional to -L."""
    for _ in range(3):
        sigma_x = 0.02 + torch.rand((), generator=g).item()
        H, W = (8 * int(n) for n in torch.randint(2, 12, (2,), generator=g))
        W += 8 * (H == W)
        # -L = a squared error + KL + constant, a = 1 / (2 sigma_x^2), and the squared error is 3 H W MSE
        from_normal = Normal(0.0, sigma_x).log_prob(torch.tensor([0.0, 1.0], dtype=torch.float64))
        expected = 1 / (float(from_normal[0] - from_normal[1]) * 3 * H * W)
        compare(
            f"weight for sigma_x = {sigma_x:.3f}, H = {H}, W = {W}", call(answer, sigma_x, H, W), expected,
            {
                "this is 1 / weight: scale the whole of -L so that the factor before the MSE becomes 1": 1 / expected,
                "an image has 3 channels: the mean is over 3 H W numbers": 3 * expected,
                "the square of sigma_x belongs here: 1 / (2 sigma_x^2) stands before the squared error":
                    2 * sigma_x / (3 * H * W),
                "the 2 of 1 / (2 sigma_x^2) is missing": expected / 2,
                "the 2 of 1 / (2 sigma_x^2) has to go to the numerator": expected / 4,
                "this weight fits the summed squared error; the MSE is a mean over 3 H W": expected * 3 * H * W,
                "sigma_x is missing: this is right for sigma_x = 1 only": 2 / (3 * H * W),
                "the factor before KL is 2 sigma_x^2 over 3 H W, not times": expected * (3 * H * W) ** 2,
            },
            rtol=1e-6, atol=0,
        )  # fmt: skip
