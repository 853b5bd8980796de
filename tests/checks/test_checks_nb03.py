"""The checks of notebook 03 tell mistakes apart; the lab's own functions pass."""

import math

import pytest
import torch
from exercises import accepted, rejected
from torch.distributions import Normal, kl_divergence

from labutils import checks, modules


def test_the_labs_own_functions_pass():
    accepted(checks.reparameterize, modules.reparameterize)
    accepted(checks.kl_divergence, modules.kl_divergence)


def test_an_answer_may_work_in_place():
    accepted(checks.reparameterize, lambda mu, logvar, eps: mu.add_(torch.exp(logvar.div_(2)) * eps))


def test_an_answer_whose_gradient_was_overwritten_is_rejected():
    rejected(checks.reparameterize, lambda mu, logvar, eps: logvar.div_(2).exp_().mul_(eps).add_(mu), "in place")


# ------------------------------------------------------------------------------------------------------------- 3.1

DRAWS = {
    "exp\\(logvar\\) is the variance": lambda m, v, e: m + v.exp() * e,
    "logvar itself is not sigma": lambda m, v, e: m + v * e,
    "the exponential is missing": lambda m, v, e: m + v / 2 * e,
    "does not double": lambda m, v, e: m + (2 * v).exp() * e,
    "1 / sigma": lambda m, v, e: m + (-v / 2).exp() * e,
    "eps is not used": lambda m, v, e: m,
    "mu is missing": lambda m, v, e: (v / 2).exp() * e,
    "variance 1": lambda m, v, e: m + e,
    "swapped": lambda m, v, e: (v / 2).exp() + m * e,
    "drawn anew": lambda m, v, e: m + (v / 2).exp() * torch.randn_like(m),
    "cut off from the graph": lambda m, v, e: (m + (v / 2).exp() * e).detach(),
    "logvar was detached": lambda m, v, e: m + (v.detach() / 2).exp() * e,
    "mu was detached": lambda m, v, e: m.data + (v / 2).exp() * e,
    "NaN": lambda m, v, e: m + v.sqrt() * e,
}


@pytest.mark.parametrize("hint", DRAWS)
def test_reparameterize_mistakes(hint):
    rejected(checks.reparameterize, DRAWS[hint], hint)


# ------------------------------------------------------------------------------------------------------------- 3.2


def each(mu, logvar):
    return 0.5 * (mu**2 + logvar.exp() - 1 - logvar)


COSTS = {
    "averaged over z": lambda m, v: each(m, v).flatten(1).mean(1),
    "summed over the batch too": lambda m, v: each(m, v).sum(),
    "averaged over the batch": lambda m, v: each(m, v).flatten(1).sum(1).mean(),
    "averaged over everything": lambda m, v: each(m, v).mean(),
    "not summed at all": each,
    "factor 1/2 is missing": lambda m, v: 2 * each(m, v).flatten(1).sum(1),
    "sign is wrong": lambda m, v: -each(m, v).flatten(1).sum(1),
    "logvar is taken for log sigma$": lambda m, v: each(m, 2 * v).flatten(1).sum(1),
    "log sigma is taken": lambda m, v: (0.5 * (m**2 + v.exp() - 1 - v / 2)).flatten(1).sum(1),
    "sigma is taken for sigma\\^2": lambda m, v: (0.5 * (m**2 + (v / 2).exp() - 1 - v)).flatten(1).sum(1),
    "q comes first": lambda m, v: kl_divergence(
        Normal(torch.zeros_like(m), torch.ones_like(m)), Normal(m, (v / 2).exp())
    ).flatten(1).sum(1),
    "term -1 is missing": lambda m, v: (0.5 * (m**2 + v.exp() - v)).flatten(1).sum(1),
    "bits": lambda m, v: each(m, v).flatten(1).sum(1) / math.log(2),
    "dimension 1 is summed": lambda m, v: each(m, v).sum(1),
}  # fmt: skip


@pytest.mark.parametrize("hint", COSTS)
def test_kl_mistakes(hint):
    rejected(checks.kl_divergence, COSTS[hint], hint)


# ------------------------------------------------------------------------------------------------------------- 3.3


def estimate(m, v, e, *, q_at=None, p_at=None, sigma=None, spread=None):
    sigma = (v / 2).exp() if sigma is None else sigma(v)
    z = m + ((v / 2).exp() if spread is None else spread(v)) * e
    q, p = Normal(m, sigma), Normal(0.0, 1.0)
    return q.log_prob(z if q_at is None else q_at(e)) - p.log_prob(z if p_at is None else p_at(e))  # (n, B, N)


def same(x):
    return x


ESTIMATES = {
    "sign is wrong": lambda m, v, e: -estimate(m, v, e).sum(-1).mean(0),
    "closed form": lambda m, v, e: each(m, v).sum(-1),
    "averaged over z; sum": lambda m, v, e: estimate(m, v, e).mean(-1).mean(0),
    "summed over the draws; average": lambda m, v, e: estimate(m, v, e).sum(-1).sum(0),
    "not averaged over the draws": lambda m, v, e: estimate(m, v, e).sum(-1),
    "not summed over z": lambda m, v, e: estimate(m, v, e).mean(0),
    "averaged over the batch too": lambda m, v, e: estimate(m, v, e).sum(-1).mean(),
    "log p has to be evaluated at z": lambda m, v, e: estimate(m, v, e, p_at=same).sum(-1).mean(0),
    "come from the prior": lambda m, v, e: estimate(m, v, e, q_at=same, p_at=same).sum(-1).mean(0),
    "Normal wants sigma": lambda m, v, e: estimate(m, v, e, sigma=torch.exp).sum(-1).mean(0),
    "both z and Normal": lambda m, v, e: estimate(m, v, e, sigma=torch.exp, spread=torch.exp).sum(-1).mean(0),
    "log q alone": lambda m, v, e: Normal(m, (v / 2).exp()).log_prob(m + (v / 2).exp() * e).sum(-1).mean(0),
}


@pytest.mark.parametrize("hint", ESTIMATES)
def test_monte_carlo_mistakes(hint):
    rejected(checks.kl_monte_carlo, ESTIMATES[hint], hint)


# ------------------------------------------------------------------------------------------------------------- 3.4


def one(m):
    return torch.ones_like(m)


GRADIENTS = {
    "torch.ones_like": lambda m, v, e: (1.0, e * (v / 2).exp() / 2),
    "whatever mu is": lambda m, v, e: (m, e * (v / 2).exp() / 2),
    "the order is": lambda m, v, e: (e * (v / 2).exp() / 2, one(m)),
    "inner derivative": lambda m, v, e: (one(m), e * (v / 2).exp()),
    "derivative by sigma": lambda m, v, e: (one(m), e),
    "eps is missing": lambda m, v, e: (one(m), (v / 2).exp() / 2),
    "sigma = exp\\(logvar / 2\\) stands here": lambda m, v, e: (one(m), e * v.exp() / 2),
    "by its logarithm": lambda m, v, e: (one(m), e / (2 * (v / 2).exp())),
    "gradient of KL by logvar": lambda m, v, e: (one(m), (v.exp() - 1) / 2),
    "end with `return": lambda m, v, e: e * (v / 2).exp() / 2,
}


@pytest.mark.parametrize("hint", GRADIENTS)
def test_gradient_mistakes(hint):
    rejected(checks.latent_gradients, GRADIENTS[hint], hint)
