"""What z is for, on models whose answers are known; what is in a latent, against numpy."""

import math

import numpy as np
import pytest
import torch
from formula import Formula
from refusals import refuses
from tiny import H, W, config, noise
from tiny import model as make
from torch import nn
from torch.distributions import LowRankMultivariateNormal, Normal
from torch.distributions import kl_divergence as kl_of

from labutils.analysis import (
    active_units,
    correlation,
    held_out_fit,
    importance_bound,
    measure_latent,
    posterior_rollout,
    principal_directions,
    prior_rollouts,
)
from labutils.evaluation import prior_noise
from labutils.images import Video, to_float
from labutils.model import ConditionalVAE


def known_model(posterior, decoder, prior=None) -> ConditionalVAE:
    """A model with latent (2, 1, 1) of functions: q from frames, frames from z, p(z) from previous frames, if learned.

    Args:
        posterior, prior: frames (B, 3, H, W) -> mean and log variance (B, 2, 1, 1).
        decoder: z (B, 2, 1, 1) -> frames.
    """
    model = make(config(N_dim=2, prior="learned" if prior else "standard"))

    def gaussian(function):
        def draw(x, label, eps=None):
            mu, logvar = function(x)
            return mu + (0.5 * logvar).exp() * (torch.randn_like(mu) if eps is None else eps), mu, logvar

        return Formula(draw)

    model.frame_transformation = model.label_transformation = nn.Identity()
    model.Gaussian_Predictor, model.Generator = gaussian(posterior), Formula(decoder)
    model.Decoder_Fusion = Formula(lambda previous, label, z: z)
    if prior:
        model.Prior_Predictor = gaussian(prior)
    return model


def test_a_z_that_is_ignored_is_worth_nothing():
    model, video = make(config(posterior="innovation")), noise(6)
    for weight in model.Decoder_Fusion.latent.parameters():
        weight.data.zero_()
    found = measure_latent(model, video, prior_rollouts(model, video, 3))
    assert found.psnr_mu == found.psnr_zero == found.best_of == pytest.approx(found.psnr_draws) and found.diversity == 0
    assert found.kl > 0 and not found.used and "z is not used" in found.lines()[0]
    assert (found.frames, found.units, found.draws) == (5, 4, 3)


def test_a_z_that_is_the_brightness_is_worth_what_it_tells():
    """q knows z = (brightness - 0.5) / 0.2 in its first number; the second one says nothing."""
    s, levels = 0.1, np.random.default_rng(0).integers(30, 225, 40)

    def posterior(x):
        mu = torch.stack([(x.mean((1, 2, 3)) - 0.5) / 0.2, torch.zeros(len(x))], 1)[..., None, None]
        return mu, torch.tensor([2 * math.log(s), 0.0]).view(1, 2, 1, 1).expand_as(mu)

    model = known_model(posterior, lambda z: (0.5 + 0.2 * z[:, :1]).expand(-1, 3, H, W))
    video = Video("v", *np.broadcast_to(levels[:, None, None, None], (2, 40, H, W, 3)).astype(np.uint8))
    samples = prior_rollouts(model, video, 4, seed=1)
    found = measure_latent(model, video, samples, seed=1)
    z, truth = (levels[1:] / 255 - 0.5) / 0.2, levels[1:].astype(float)
    eps = np.stack([prior_noise(model, 39, 1, f"v/{k}")[:, 0, 0, 0] for k in range(4)])
    drawn = np.rint(255 * np.clip(0.5 + 0.2 * eps, 0, 1))  # (4, 39)

    def score(shown):
        return np.minimum(100, 20 * np.log10(255 / np.maximum(np.abs(shown - truth), 1e-9))).mean()

    assert found.kl == pytest.approx(0.5 * np.mean(z**2 + s**2 - 1 - math.log(s**2)), rel=1e-4)
    assert (found.active_units, found.units, found.psnr_mu) == (1, 2, 100)
    assert found.psnr_zero == pytest.approx(score(128))
    scores = [score(row) for row in drawn]
    assert found.psnr_draws == pytest.approx(np.mean(scores)) and found.best_of == pytest.approx(max(scores))
    assert found.diversity == pytest.approx(drawn.std(0).sum() / 40, rel=1e-4)  # the given frame does not differ
    assert found.used and found.to_json()["used"] is True and found.to_json()["kl"] == found.kl
    first, second = found.lines()
    assert f"{found.kl:.3f} nats" in first and "1 of its 2" in first and "not used" not in first
    assert all(f"{value:.2f}" in second for value in (100, found.psnr_zero, found.psnr_draws, found.best_of))


def test_a_unit_is_active_where_its_mean_varies():
    mu = np.random.default_rng(0).normal(size=(5000, 4)) * np.sqrt([0.0, 0.008, 0.012, 3]) + [7, 0, 0, 0]
    assert active_units(mu) == 2


@pytest.mark.parametrize("prior", [None, ((0.3, -0.5), (0.6, 1.2))], ids=["standard", "learned"])
def test_the_bound_rises_from_the_elbo_to_log_p(prior):
    """x = 0.4 + A z + noise, linear and Gaussian, with a posterior that is not the true one."""
    s, frames = 1.5, 200
    pattern = 0.1 * torch.sign(torch.randn(2, 3, H, W, generator=torch.Generator().manual_seed(0)))
    A = pattern.flatten(1).T.double()  # (D, 2)
    q_mean, q_std = torch.tensor([0.4, -0.9]), torch.tensor([0.8, 0.6])
    mean, std = (torch.tensor(v) for v in prior or ((0.0, 0.0), (1.0, 1.0)))

    def constant(m, sd):
        return lambda x: tuple(v.view(1, 2, 1, 1).expand(len(x), 2, 1, 1) for v in (m, 2 * sd.log()))

    model = known_model(
        constant(q_mean, q_std),
        lambda z: 0.4 + (z.flatten(1) @ pattern.flatten(1)).unflatten(1, (3, H, W)),
        constant(mean, std) if prior else None,
    )
    x = (to_float(noise(1).frames)[0].double().flatten() - 0.4).float().double()  # (D,)
    one = noise(1).frames.repeat(frames + 1, 0)  # the same frame again and again: independent estimates
    video = Video("v", one, one)
    exact = LowRankMultivariateNormal(A @ mean.double(), A * std.double(), torch.full((len(x),), s**2).double())
    log_p = exact.log_prob(x).item()
    fit = Normal((A @ q_mean.double()), s).log_prob(x).sum() - ((A * q_std.double()) ** 2).sum() / (2 * s**2)
    elbo = (fit - kl_of(Normal(q_mean, q_std), Normal(mean, std)).sum()).item()
    assert elbo < log_p - 0.2
    found = [importance_bound(model, video, K, sigma_x=s, seed=2) for K in (1, 4, 64)]
    means, errors = [b.mean() for b in found], [b.std() / math.sqrt(frames) for b in found]
    assert found[0].shape == (frames,) and found[0].dtype == np.float64
    assert abs(means[0] - elbo) < 4 * errors[0]
    assert means[0] + 3 * errors[0] < means[1] < means[2] - 3 * errors[1] and abs(means[2] - log_p) < 0.05
    assert all(m < log_p + 4 * e for m, e in zip(means, errors))
    for chunk in (3, 50):
        np.testing.assert_allclose(
            importance_bound(model, video, 4, sigma_x=s, seed=2, chunk=chunk), found[1], rtol=1e-7
        )
    default = importance_bound(model, video.part(0, 3), 4, seed=2)
    np.testing.assert_allclose(default, importance_bound(model, video.part(0, 3), 4, sigma_x=model.cfg.sigma_x, seed=2))


def test_the_bound_looks_at_the_true_previous_frame():
    """One sample at a time, with the modules of a real model whose posterior and prior both look at it."""
    model, video, s = make(config(posterior="innovation", prior="learned")).eval(), noise(4), 0.7
    source, expected = torch.Generator().manual_seed(5), []
    with torch.no_grad():
        for t in range(1, 4):
            last, x, P = (to_float(a)[None] for a in (video.frames[t - 1], video.frames[t], video.labels[t]))
            weights, label = [], model.label_transformation(P)
            for eps in torch.randn(3, *model.latent_shape, generator=source):
                z, mu, logvar = model.posterior(x, label, eps[None], last)
                mean, spread = model.prior(last, label)
                weight = Normal(model.step(last, label, z).double(), s).log_prob(x.double()).sum()
                weight += Normal(mean, (spread / 2).exp()).log_prob(z).sum()
                weights.append(weight - Normal(mu, (logvar / 2).exp()).log_prob(z).sum())
            expected.append(torch.logsumexp(torch.stack(weights), 0) - math.log(3))
    np.testing.assert_allclose(importance_bound(model, video, 3, sigma_x=s, seed=5), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "measure", [posterior_rollout, importance_bound, lambda m, v: measure_latent(m, v, v.labels[None])]
)
def test_measures_need_the_truth(measure):
    whole = noise(5)
    refuses("1 of 5", measure, make(config()), Video("v", whole.frames[:1], whole.labels))


# ------------------------------------------------------------------------------------------- directions and factors


@pytest.mark.parametrize("shape", [(40, 6), (12, 300)])
def test_directions_are_those_of_the_singular_value_decomposition(shape):
    rng = np.random.default_rng(1)
    mu = rng.normal(size=shape) * np.linspace(3, 0.1, shape[1]) + 5
    directions, std, explained = principal_directions(mu.astype(np.float32), 4)
    _, s, rows = np.linalg.svd(mu - mu.mean(0), full_matrices=False)
    np.testing.assert_allclose(np.abs(directions @ rows[:4].T), np.eye(4), atol=1e-3)
    np.testing.assert_allclose(std, s[:4] / np.sqrt(len(mu)), rtol=1e-4)
    np.testing.assert_allclose(explained, s[:4] ** 2 / (s**2).sum(), rtol=1e-4)
    np.testing.assert_allclose(std, ((mu - mu.mean(0)) @ directions.T).std(0), rtol=1e-3)


def test_a_latent_that_varies_in_one_direction_gives_one():
    mu = np.outer(np.linspace(-1, 1, 30), [3.0, 4.0, 0.0])
    directions, std, explained = principal_directions(mu, 4)
    np.testing.assert_allclose(directions, [[0.6, 0.8, 0]], atol=1e-9)
    assert explained == pytest.approx([1.0]) and std == pytest.approx([5 * np.linspace(-1, 1, 30).std()])
    assert principal_directions(np.ones((30, 3)), 4)[1] == pytest.approx([0.0])  # a latent that says nothing at all


def test_correlation_is_numpys():
    x, y = np.random.default_rng(0).normal(size=(2, 50))
    assert correlation(x, x + y) == pytest.approx(np.corrcoef(x, x + y)[0, 1])
    assert correlation(x, np.ones(50)) == 0


def test_the_combination_is_judged_on_frames_it_has_not_seen():
    rng = np.random.default_rng(2)
    scores = rng.normal(size=(60, 12))
    target = scores @ rng.normal(size=12) + 3
    prediction, r2 = held_out_fit(scores, target)
    assert r2 == pytest.approx(1) and prediction == pytest.approx(target)
    noise = rng.normal(size=60)
    prediction, r2 = held_out_fit(scores, noise)
    assert r2 < 0.1  # 12 numbers would explain a fifth of the noise they were fitted to
    piece = np.array_split(np.arange(60), 5)[1]
    rest = np.delete(np.arange(60), piece)
    one = np.column_stack([np.ones(60), scores])
    weights = np.linalg.solve(one[rest].T @ one[rest], one[rest].T @ noise[rest])
    np.testing.assert_allclose(prediction[piece], one[piece] @ weights, rtol=1e-8)
