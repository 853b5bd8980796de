"""The posterior that sees what is new, and the learned prior: both variants against slow loops over their modules."""

import itertools

import numpy as np
import pytest
import torch
from tiny import H, W, config, noise, train
from tiny import model as make
from torch.distributions import Normal
from torch.distributions import kl_divergence as kl_of

from labutils.analysis import best_of_n, one_step, posterior_rollout, prior_rollouts
from labutils.batches import Batch
from labutils.checkpoint import checkpoint_config, load_model, read_checkpoint
from labutils.errors import LabError
from labutils.evaluation import predict, prior_noise
from labutils.images import to_float, to_uint8
from labutils.metrics import psnr
from labutils.modules import kl_divergence
from labutils.training import Objective

OPTIONS = [dict(posterior=q, prior=p) for q, p in itertools.product(("frame", "innovation"), ("standard", "learned"))]
options = pytest.mark.parametrize("options", OPTIONS, ids=lambda o: f"{o['posterior']}-{o['prior']}")


@pytest.fixture(params=["fast", "course"])
def variant(request):
    return request.param


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, 3, H, W, generator=torch.Generator().manual_seed(seed))


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def slow_prior(model, fed, P):
    """p(z) of one frame, by the modules themselves."""
    if model.cfg.prior == "standard":
        return Normal(torch.zeros(len(fed), *model.latent_shape), 1.0)
    _, mean, logvar = model.Prior_Predictor(model.frame_transformation(fed), model.label_transformation(P))
    return Normal(mean, (0.5 * logvar).exp())


def slow_step(model, fed, x, P, eps):
    """A training step's prediction of x and its KL, where the decoder is fed with ``fed``."""
    last, current, label = model.frame_transformation(fed), model.frame_transformation(x), model.label_transformation(P)
    seen = current - last if model.cfg.posterior == "innovation" else current
    _, mu, logvar = model.Gaussian_Predictor(seen, label)
    q = Normal(mu, (0.5 * logvar).exp())
    prediction = model.Generator(model.Decoder_Fusion(last, label, q.mean + q.stddev * eps))
    return prediction, kl_of(q, slow_prior(model, fed, P)).flatten(1).sum(1)


def test_kl_from_any_normal_equals_torch_distributions():
    mu, logvar, mean, spread = torch.randn(4, 5, 4, 3, 2).double()
    p = Normal(mean, (spread / 2).exp())
    expected = kl_of(Normal(mu, (logvar / 2).exp()), p).flatten(1).sum(1)
    torch.testing.assert_close(kl_divergence(mu, logvar, (mean, spread)), expected)
    standard = torch.zeros_like(mu), torch.zeros_like(mu)
    assert torch.equal(kl_divergence(mu, logvar, standard), kl_divergence(mu, logvar))
    assert (kl_divergence(mu, logvar, (mu, logvar)) == 0).all()


@options
@pytest.mark.parametrize("feeding", [[[0, 1, 1], [1, 1, 1]], [[1, 0, 1, 0], [0, 1, 1, 0]]], ids=["true", "mixed"])
def test_a_rollout_equals_a_slow_loop(variant, options, feeding):
    """The posterior sees how x_t differs from the frame that is really fed, be it true or the model's own."""
    model, teacher = make(config(variant=variant, **options)).eval(), torch.tensor(feeding).bool()
    steps = teacher.shape[1]
    frames, labels, eps = images(2, steps + 1), images(2, steps + 1, seed=1), normal(2, steps, *model.latent_shape)
    with torch.no_grad():
        got, kl = model(frames, labels, teacher, eps)
        for b in range(2):
            last = frames[b, :1]
            for t in range(steps):
                fed = frames[b, t : t + 1] if teacher[b, t] or t == 0 else last
                x, P = frames[b, t + 1 : t + 2], labels[b, t + 1 : t + 2]
                last, cost = slow_step(model, fed, x, P, eps[b, t : t + 1])
                torch.testing.assert_close(got[b, t : t + 1], last, atol=1e-5, rtol=1e-4)
                torch.testing.assert_close(kl[b, t : t + 1], cost, atol=1e-4, rtol=1e-4)
                _, mu, logvar = model.posterior(x, feature := model.label_transformation(P), previous=fed)
                torch.testing.assert_close(
                    kl_divergence(mu, logvar, model.prior(fed, feature)), cost, atol=1e-4, rtol=1e-4
                )


def test_the_posterior_of_what_is_new_sees_nothing_in_a_frame_that_stays(variant):
    model = make(config(variant=variant, posterior="innovation")).eval()
    label, (a, b), eps = model.label_transformation(images(1, seed=9)), images(2, 1), normal(1, *model.latent_shape)
    pairs = (a, a), (b, b), (b, a)  # x_t, x_{t-1}
    stays, elsewhere, changes = (model.posterior(x, label, eps, previous) for x, previous in pairs)
    assert all(torch.equal(p, q) for p, q in zip(stays, elsewhere))
    assert not torch.allclose(stays[1], changes[1])
    with pytest.raises(LabError, match="give previous="):
        model.posterior(a, label, eps)
    plain = make(config(variant=variant)).eval()  # the other one does not look at it
    assert all(torch.equal(p, q) for p, q in zip(plain.posterior(a, label, eps), plain.posterior(a, label, eps, b)))


@options
@pytest.mark.parametrize("teacher", [[[1]], [[1, 0, 0]]], ids=["replay", "clips"])
def test_gradients_reach_every_weight(variant, options, teacher):
    cfg = config(variant=variant, **options)
    model, steps = make(cfg), len(teacher[0])
    batch = Batch(images(2, steps + 1), images(2, steps + 1, seed=1), torch.tensor(teacher * 2).bool(),
                  normal(2, steps, *model.latent_shape))  # fmt: skip
    Objective(model, cfg)(batch, 1.0)[0].backward()
    assert {name for name, p in model.named_parameters() if p.grad is None} == set()
    for name, module in model.named_children():
        assert sum(p.grad.abs().sum() for p in module.parameters()) > 0, name


@options
def test_generation_draws_from_the_prior(variant, options):
    model = make(config(variant=variant, **options)).eval()
    x1, labels, eps = images(2), images(2, 5, seed=1), normal(2, 4, *model.latent_shape)
    given, drawn = model.generate(x1, labels, eps), model.generate(x1, labels, eps=eps)  # the one is z, the other noise
    with torch.no_grad():
        for found, is_noise in ((given, False), (drawn, True)):
            x = x1
            for t in range(1, 5):
                p, P = slow_prior(model, x, labels[:, t]), labels[:, t]
                z = p.mean + p.stddev * eps[:, t - 1] if is_noise else eps[:, t - 1]
                feature = model.label_transformation(P)
                torch.testing.assert_close(model.draw(x, feature, eps[:, t - 1]), p.mean + p.stddev * eps[:, t - 1])
                x = model.step(x, feature, z).clamp(0, 1)
                torch.testing.assert_close(found[:, t], x, atol=1e-4, rtol=1e-3)
    assert torch.equal(given, drawn) == (options["prior"] == "standard")
    source = torch.Generator().manual_seed(3)
    noises = torch.stack([model.sample_prior(2, source) for _ in range(4)], dim=1)
    source.manual_seed(3)
    assert torch.equal(model.generate(x1, labels, generator=source), model.generate(x1, labels, eps=noises))
    with pytest.raises(LabError, match=r"eps is \(2, 3, .* expected \(B, T-1, N, h, w\)"):
        model.generate(x1, labels, eps=eps[:, 1:])


@options
def test_rollouts_and_single_steps_of_a_video_equal_slow_loops(variant, options):
    model, video = make(config(variant=variant, **options)), noise(6)
    frames, poses = to_float(video.frames), to_float(video.labels)
    made, mu, kl = posterior_rollout(model, video)
    samples, (mean,) = prior_rollouts(model, video, 2, seed=4), prior_rollouts(model, video, 1, std=0.0)
    assert (
        mu.shape == (5, np.prod(model.latent_shape)) and kl.shape == (5,) and samples.shape == (2, *video.frames.shape)
    )
    assert model.training  # it is given back as it came
    model.eval()
    noises = [prior_noise(model, 5, 4, f"train/{k}") for k in range(2)] + [torch.zeros(5, *model.latent_shape)]
    single = prior_noise(model, 5, 4, "train")
    with torch.no_grad():
        x, drawn, scores = frames[:1], [frames[:1]] * 3, []
        for t in range(1, 6):
            P, nothing = poses[t : t + 1], torch.zeros(1, *model.latent_shape)
            label = model.label_transformation(P)
            np.testing.assert_allclose(
                mu[t - 1], model.posterior(frames[t : t + 1], label, previous=x)[1][0].flatten(), atol=1e-5
            )
            x, cost = slow_step(model, x, frames[t : t + 1], P, nothing)
            x = x.clamp(0, 1)
            assert kl[t - 1] == pytest.approx(cost.item(), abs=1e-3)
            assert np.abs(made[t].astype(int) - to_uint8(x[0])).max() <= 1
            for k in range(3):
                p = slow_prior(model, drawn[k], P)
                drawn[k] = model.step(drawn[k], label, p.mean + p.stddev * noises[k][t - 1]).clamp(0, 1)
                found = (*samples, mean)[k][t].astype(int)
                assert np.abs(found - to_uint8(drawn[k][0])).max() <= 1
            p = slow_prior(model, frames[t - 1 : t], P)
            prediction = model.step(frames[t - 1 : t], label, p.mean + p.stddev * single[t - 1])
            scores.append(psnr(prediction[0], frames[t]).item())
    np.testing.assert_allclose(one_step(model, video, seed=4, chunk=2), scores, rtol=1e-4)
    truth = video.frames[None, 1:].repeat(2, 0)
    np.testing.assert_array_equal(best_of_n(model, video, 2, seed=4), psnr(samples[:, 1:], truth))
    np.testing.assert_array_equal(made[0], video.frames[0])
    with pytest.raises(LabError, match="draws is 0"):
        prior_rollouts(model, video, 0)


@options
def test_checkpoints_are_loaded_and_gone_on_from(tmp_path, variant, options):
    cfg = config(tmp_path, variant=variant, steps=2, num_epoch=1, **options)
    assert len(train(cfg)) == 2
    path = tmp_path / "out/last.ckpt"
    model, saved = load_model(path), read_checkpoint(path)
    assert model.cfg == cfg and any("Prior_Predictor" in name for name in saved["state_dict"]) == (
        cfg.prior == "learned"
    )
    again = load_model(path)
    np.testing.assert_array_equal(*(predict(m, [noise(4)])[0] for m in (model, again)))
    history = train(cfg.replace(steps=4), resume=path)
    assert len(history) == 4 and np.isfinite([row["loss"] for row in history]).all()
    del saved["config"]["posterior"], saved["config"]["prior"]  # as they were before there was a choice
    old = checkpoint_config(saved)
    assert (old.posterior, old.prior) == ("frame", "standard")


def test_a_learned_prior_and_a_standard_one_do_not_fit_each_other(tmp_path, variant):
    standard, learned = (config(tmp_path / p, variant=variant, steps=2, prior=p) for p in ("standard", "learned"))
    shared = make(standard).state_dict()
    more = make(learned).state_dict()  # what both have starts from the same numbers
    assert all(torch.equal(w, more[name]) for name, w in shared.items())
    assert all(name.startswith("Prior_Predictor.") for name in more.keys() - shared.keys())
    for cfg, other, message in (
        (standard, learned, "expected not part of this model"),
        (learned, standard, "is missing"),
    ):
        train(other, val=False)
        with pytest.raises(LabError, match=f"Prior_Predictor.* {message}.*choose --prior as in its training"):
            train(cfg, val=False, resume=tmp_path / other.prior / "out/last.ckpt")
