"""The checks of notebook 04 tell mistakes apart; the model behind them against sampling."""

import math

import pytest
import torch
from exercises import rejected
from torch.distributions import MultivariateNormal

from labutils import checks
from labutils.checks.nb04 import LinearGaussian


def evidence(mean=lambda c, U, b: c @ U.T + b, noise=lambda s: s**2, latent=1.0, after=lambda v: v):
    def answer(x, c, W, U, b, sigma_x):
        cov = latent * W @ W.T + noise(sigma_x) * torch.eye(len(b), dtype=x.dtype)
        centred = x - mean(c, U, b)
        quadratic = (centred * torch.linalg.solve(cov, centred.T).T).sum(1)
        return after(-0.5 * (quadratic + torch.logdet(cov) + len(b) * math.log(2 * math.pi)))

    return answer


def posterior(prior=1.0, scale=lambda s: s**2, r=lambda x, c, U, b: x - c @ U.T - b, invert=True, gain=lambda s: s**2):
    def answer(x, c, W, U, b, sigma_x):
        precision = prior * torch.eye(W.shape[1], dtype=x.dtype) + W.T @ W / scale(sigma_x)
        cov = torch.linalg.inv(precision)
        return r(x, c, U, b) @ W @ cov / gain(sigma_x), cov if invert else precision

    return answer


def bound(sigma=lambda v: v.exp(), spread=1.0, kl_sign=1.0, kl_half=0.5, reduce=lambda k: k.sum(1), constant=1.0):
    def answer(x, c, mu, logvar, W, U, b, sigma_x):
        r = x - c @ U.T - b
        error = (r - mu @ W.T).square().sum(1) + spread * (sigma(logvar) @ W.square().sum(0))
        likelihood = -constant * x.shape[1] / 2 * math.log(2 * math.pi * sigma_x**2) - error / (2 * sigma_x**2)
        return likelihood - kl_sign * reduce(kl_half * (mu**2 + logvar.exp() - 1 - logvar))

    return answer


WRONG = [
    ("4.1", evidence(latent=0.0), r"z adds W W\^T"),
    ("4.1", evidence(noise=lambda s: s), r"sigma_x\^2 I, not sigma_x I"),
    ("4.1", evidence(mean=lambda c, U, b: b), "c is missing"),
    ("4.1", evidence(mean=lambda c, U, b: c @ U.T), "b is missing"),
    ("4.1", evidence(after=lambda v: -v), "negative log density"),
    ("4.1", evidence(after=lambda v: v.mean()), "averaged over the batch"),
    ("4.1", evidence(after=lambda v: v.exp()), "density, not its logarithm"),
    ("4.2", posterior(invert=False), "the covariance is its inverse"),
    ("4.2", posterior(prior=0.0), "the prior adds I"),
    ("4.2", posterior(scale=lambda s: s), "not / sigma_x"),
    ("4.2", posterior(scale=lambda s: 1.0), "the division is missing"),
    ("4.2", posterior(r=lambda x, c, U, b: x), r"subtract U c \+ b from x first"),
    ("4.2", posterior(r=lambda x, c, U, b: x - b), "U c is not subtracted"),
    ("4.2", posterior(gain=lambda s: 1.0), r"factor 1 / sigma_x\^2 is missing"),
    ("4.2", lambda *a: posterior()(*a)[0], r"mean \(B, K\) and covariance \(K, K\)"),
    ("4.3", bound(spread=0.0), "add the spread of W z"),
    ("4.3", bound(kl_sign=-1.0), "subtracted, not added"),
    ("4.3", bound(kl_half=1.0), "half in front of KL"),
    ("4.3", bound(reduce=lambda k: k.mean(1)), "summed over the K dimensions"),
    ("4.3", bound(sigma=lambda v: v.exp() ** 2), "do not square it"),
    ("4.3", bound(constant=0.0), "constant -D/2"),
    ("4.3", lambda *a: -bound()(*a), "this is -L"),
    ("4.4", lambda s, H, W: 2 * s**2 / (H * W), "3 channels"),
    ("4.4", lambda s, H, W: s**2 / (3 * H * W), "the 2 of"),
    ("4.4", lambda s, H, W: 2 * s / (3 * H * W), "square of sigma_x"),
    ("4.4", lambda s, H, W: 2 * s**2, "summed squared error"),
    ("4.4", lambda s, H, W: 3 * H * W / (2 * s**2), "1 / weight"),
]


@pytest.mark.parametrize("number, answer, hint", WRONG, ids=[f"{w[0]}-{k}" for k, w in enumerate(WRONG)])
def test_a_mistake_is_named(number, answer, hint):
    rejected(checks.EXERCISES[number], answer, hint)


def test_the_linear_gaussian_model_against_sampling():
    g = torch.Generator().manual_seed(0)
    model = LinearGaussian.random(3, 2, 1, g, sigma_x=1.0)
    c = torch.randn(1, 1, generator=g, dtype=torch.float64)
    x = model.sample(c, g)[1]
    z = torch.randn(400_000, 2, generator=g, dtype=torch.float64)  # importance sampling from the prior
    weight = model.log_likelihood(x, z, c)
    estimate = torch.logsumexp(weight, 0) - math.log(len(z))
    assert abs(estimate - model.log_evidence(x, c)) < 0.02
    mean, cov = model.posterior(x, c)
    share = torch.softmax(weight, 0)[:, None]
    torch.testing.assert_close((share * z).sum(0), mean[0], atol=0.02, rtol=0)
    torch.testing.assert_close(((share * z).T @ z) - mean.T @ mean, cov, atol=0.02, rtol=0)


def test_bound_plus_gap_is_log_p():
    g = torch.Generator().manual_seed(0)
    model = LinearGaussian.random(4, 2, 1, g)
    c = torch.randn(5, 1, generator=g, dtype=torch.float64)
    x = model.sample(c, g)[1]
    mu, root = torch.randn(5, 2, dtype=torch.float64), torch.randn(5, 2, 2, dtype=torch.float64)
    cov = root @ root.mT + torch.eye(2, dtype=torch.float64)
    gap = torch.distributions.kl_divergence(MultivariateNormal(mu, cov), MultivariateNormal(*model.posterior(x, c)))
    torch.testing.assert_close(model.elbo(x, c, mu, cov) + gap, model.log_evidence(x, c), atol=1e-10, rtol=0)
