"""The modules against the course's fixture; the model against slow loops; what must never leak."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import labutils
from labutils.config import LabConfig
from labutils.errors import LabError
from labutils.model import ConditionalVAE, checkpoint_config, load_model, read_checkpoint
from labutils.modules import kl_divergence, reparameterize

COURSE = Path(__file__).parent / "data" / "course"
SMALL = dict(frame_H=16, frame_W=24, width=8, N_dim=4, F_dim=16, L_dim=8, D_out_dim=16)  # H != W shows swaps


@pytest.fixture(params=["fast", "course"])
def model(request):
    torch.manual_seed(0)
    return ConditionalVAE(LabConfig(variant=request.param, **SMALL)).eval()


def images(*shape, seed=0):
    return torch.rand(*shape, 3, 16, 24, generator=torch.Generator().manual_seed(seed))


# --------------------------------------------------------------------------------------------- the course's fixture


@pytest.fixture(scope="module")
def course_model():
    return load_model(COURSE / "epoch=3.ckpt")


def test_course_names_and_shapes(course_model):
    expected = {name: tuple(shape) for name, shape in json.loads((COURSE / "state_dict.json").read_text()).items()}
    assert {name: tuple(w.shape) for name, w in course_model.state_dict().items()} == expected
    assert course_model.num_parameters() == 1_585_620


def test_course_checkpoint_reproduces_its_outputs(course_model):
    io = {name: torch.from_numpy(array) for name, array in np.load(COURSE / "io.npz").items()}
    with torch.no_grad():
        label = course_model.label_transformation(io["label"])
        frame = course_model.frame_transformation(io["prev"])
        torch.testing.assert_close(course_model.step(io["prev"], label, io["z"]), io["frame"], atol=1e-5, rtol=0)
        _, mu, logvar = course_model.posterior(io["cur"], label)
    torch.testing.assert_close(mu, io["mu"], atol=1e-5, rtol=0)
    torch.testing.assert_close(logvar, io["logvar"], atol=1e-5, rtol=0)
    torch.testing.assert_close(frame.mean((2, 3)), io["frame_feature_mean"], atol=1e-5, rtol=0)
    torch.testing.assert_close(label.mean((2, 3)), io["label_feature_mean"], atol=1e-5, rtol=0)


def test_course_checkpoint_with_other_dimensions_is_recognised(tmp_path):
    cfg = LabConfig(variant="course", **{**SMALL, "frame_H": 32, "frame_W": 64})
    weights = ConditionalVAE(cfg).state_dict()
    torch.save({"state_dict": weights, "lr": 1.0, "tfr": 0.5, "last_epoch": 1}, tmp_path / "a.ckpt")
    found = load_model(tmp_path / "a.ckpt").cfg
    assert (found.variant, found.F_dim, found.L_dim, found.N_dim, found.D_out_dim) == ("course", 16, 8, 4, 16)


# ------------------------------------------------------------------------------------------------------- the latent


def test_kl_equals_torch_distributions():
    mu, logvar = torch.randn(2, 5, 4, 3, 2)
    normal = torch.distributions.Normal(mu, (logvar / 2).exp())
    expected = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).flatten(1).sum(1)
    torch.testing.assert_close(kl_divergence(mu, logvar), expected)


def test_reparameterize_has_the_right_moments_and_gradients():
    mu = torch.tensor([0.5, -1.0]).requires_grad_()
    logvar = torch.tensor([0.2, -2.0]).requires_grad_()
    torch.manual_seed(0)
    z = reparameterize(mu.expand(200_000, 2), logvar.expand(200_000, 2))
    torch.testing.assert_close(z.mean(0), mu, atol=0.01, rtol=0)
    torch.testing.assert_close(z.var(0), logvar.exp(), atol=0.02, rtol=0)
    eps = torch.tensor([0.3, -1.2])
    reparameterize(mu, logvar, eps).sum().backward()
    torch.testing.assert_close(mu.grad, torch.ones(2))
    torch.testing.assert_close(logvar.grad, 0.5 * eps * (0.5 * logvar).exp().detach())


# ---------------------------------------------------------------------------------------------------- shapes, bounds


def test_shapes_and_bounds(model):
    x1, labels = images(2), images(2, 5, seed=1)
    label = model.label_transformation(labels[:, 0])
    z, mu, logvar = model.posterior(x1, label)
    assert z.shape == mu.shape == logvar.shape == (2, *model.latent_shape)
    assert model.step(x1, label, z).shape == (2, 3, 16, 24)
    video = model.generate(x1, labels)
    assert video.shape == (2, 5, 3, 16, 24) and torch.equal(video[:, 0], x1)
    assert video.min() >= 0 and video.max() <= 1


def test_the_fast_variant_is_bounded_without_clipping():
    torch.manual_seed(0)
    model = ConditionalVAE(LabConfig(**SMALL))
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(20)
        out = model.step(images(4), model.label_transformation(images(4, seed=1)), torch.randn(4, *model.latent_shape))
    assert out.min() >= 0 and out.max() <= 1


def test_the_background_plate_starts_without_the_person():
    """Who stands at one place in most frames is no part of the room; where nobody ever leaves, the median stands."""
    model = ConditionalVAE(LabConfig(**SMALL))
    frames = np.full((9, 16, 24, 3), 100, np.uint8)
    labels = np.full_like(frames, 255)
    for t in range(9):
        left = 2 if t < 6 else 18  # the person stands on the left in two frames of three
        frames[t, 3:12, left : left + 4] = 30
        labels[t, 5:10, left + 2] = (0, 255, 0)
    labels[0] = 255  # a pose that was not found
    model.set_background(frames, labels)
    torch.testing.assert_close(torch.sigmoid(model.Generator.background), torch.full((3, 16, 24), 100 / 255))

    labels[:] = 0
    model.set_background(frames, labels)
    plate = torch.sigmoid(model.Generator.background)
    assert (
        plate[:, 3:12, 2:6].sub(30 / 255).abs().max() < 1e-5 and plate[:, 3:12, 18:22].sub(100 / 255).abs().max() < 1e-5
    )


# ------------------------------------------------------------------------------------------------ rollouts and leaks


def test_rollout_equals_a_slow_loop(model):
    frames, labels = images(2, 6), images(2, 6, seed=1)
    teacher = torch.tensor([[1, 0, 1, 0, 0], [0, 1, 1, 1, 0]]).bool()
    eps = torch.randn(2, 5, *model.latent_shape, generator=torch.Generator().manual_seed(3))
    got, kl = model.rollout(frames, labels, teacher, eps)

    for b in range(2):
        last = frames[b, :1]
        for t in range(5):
            if teacher[b, t]:
                last = frames[b, t : t + 1]
            label = model.label_transformation(labels[b, t + 1 : t + 2])
            _, mu, logvar = model.posterior(frames[b, t + 1 : t + 2], label)
            last = model.step(last, label, mu + (0.5 * logvar).exp() * eps[b, t])
            torch.testing.assert_close(got[b, t : t + 1], last, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(kl[b, t : t + 1], kl_divergence(mu, logvar), atol=1e-4, rtol=1e-4)


def test_full_teacher_forcing_in_parallel_equals_step_by_step(model):
    frames, labels = images(2, 6), images(2, 6, seed=1)
    nearly = torch.ones(2, 5, dtype=torch.bool)
    nearly[0, 0] = False  # at t = 1 the given frame is fed in either case, so this is full teacher forcing too
    eps = torch.randn(2, 5, *model.latent_shape)
    parallel, _ = model.rollout(frames, labels, torch.ones(2, 5, dtype=torch.bool), eps)
    sequential, _ = model.rollout(frames, labels, nearly, eps)
    torch.testing.assert_close(parallel, sequential, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("feedback_grad", [False, True])
def test_gradients_flow_through_generated_frames_only_when_asked(feedback_grad):
    torch.manual_seed(0)
    model = ConditionalVAE(LabConfig(**SMALL))
    labels = images(1, 3, seed=1).requires_grad_()
    predictions, _ = model.rollout(images(1, 3), labels, torch.zeros(1, 2, dtype=torch.bool), None, feedback_grad)
    predictions[:, 1].sum().backward()  # the second prediction depends on P_2 only through the first prediction
    assert bool(labels.grad[:, 1].abs().sum() > 0) == feedback_grad


def test_transition_is_one_step_of_the_rollout(model):
    frames, labels = images(3, 2), images(3, 2, seed=1)
    eps = torch.randn(3, 1, *model.latent_shape)
    a, kl_a = model.transition(frames[:, 0], frames[:, 1], labels[:, 1], eps[:, 0])
    b, kl_b = model.rollout(frames, labels, torch.ones(3, 1, dtype=torch.bool), eps)
    torch.testing.assert_close(a, b[:, 0])
    torch.testing.assert_close(kl_a, kl_b[:, 0])


def test_generation_equals_a_slow_loop_over_single_sequences(model):
    T = 70  # more than one chunk of labels
    x1, labels = images(2), images(2, T, seed=1)
    z = torch.randn(2, T - 1, *model.latent_shape, generator=torch.Generator().manual_seed(2))
    video = model.generate(x1, labels, z)
    with torch.no_grad():
        for b in range(2):
            x = x1[b : b + 1]
            for t in range(1, T):
                x = model.step(x, model.label_transformation(labels[b : b + 1, t]), z[b : b + 1, t - 1]).clamp(0, 1)
                torch.testing.assert_close(video[b, t], x[0], atol=1e-4, rtol=1e-3)


def test_generation_never_calls_the_posterior(model, monkeypatch):
    def leak(*args):
        raise AssertionError("the posterior sees x_t; generation must not use it")

    monkeypatch.setattr(model.Gaussian_Predictor, "forward", leak)
    model.generate(images(1), images(1, 4))


def test_prior_draws_are_standard_normal_and_seeded(model):
    draw = model.sample_prior(4000, torch.Generator().manual_seed(0))
    assert draw.shape == (4000, *model.latent_shape)
    assert abs(draw.mean()) < 0.01 and abs(draw.std() - 1) < 0.01
    x1, labels = images(1), images(1, 4, seed=1)
    a, b, c = (model.generate(x1, labels, generator=torch.Generator().manual_seed(s)) for s in (5, 5, 6))
    assert torch.equal(a, b) and not torch.equal(a, c)


# ------------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    "x1, labels, z, message",
    [
        ((2, 3, 16, 24), (3, 5, 3, 16, 24), None, "x1 is"),
        ((2, 3, 16, 24), (2, 3, 16, 24), None, "x1 is"),
        ((1, 3, 24, 16), (1, 5, 3, 24, 16), None, "the model was built for"),
        ((1, 3, 16, 24), (1, 5, 3, 16, 24), (1, 5, 4, 2, 3), r"expected \(B, T-1, N, h, w\)"),
    ],
)
def test_generate_names_wrong_shapes(x1, labels, z, message):
    model = ConditionalVAE(LabConfig(**SMALL))
    with pytest.raises(LabError, match=message):
        model.generate(torch.rand(x1), torch.rand(labels), None if z is None else torch.zeros(z))


def test_bad_checkpoints_are_named(tmp_path):
    with pytest.raises(LabError, match="is missing"):
        load_model(tmp_path / "none.ckpt")
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    with pytest.raises(LabError, match=r"text\.ckpt cannot be read"):
        load_model(tmp_path / "text.ckpt")
    whole = (COURSE / "epoch=3.ckpt").read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LabError, match=r"cut\.ckpt cannot be read"):
        load_model(tmp_path / "cut.ckpt")
    torch.save({"weights": 1}, tmp_path / "other.ckpt")
    with pytest.raises(LabError, match="holds no state_dict"):
        load_model(tmp_path / "other.ckpt")
    torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / "foreign.ckpt")
    with pytest.raises(LabError, match="neither the lab's nor the course's"):
        load_model(tmp_path / "foreign.ckpt")


def test_a_checkpoint_of_another_shape_names_the_weight(tmp_path):
    weights = ConditionalVAE(LabConfig(**SMALL)).state_dict()
    torch.save({"state_dict": weights, "config": LabConfig(**{**SMALL, "width": 16}).to_dict()}, tmp_path / "a.ckpt")
    with pytest.raises(LabError, match=r"frame_transformation.conv.weight is \(8, .* expected \(16"):
        load_model(tmp_path / "a.ckpt")


def test_a_checkpoint_cannot_run_code(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.write_text, (tmp_path / "ran", "x"))

    torch.save({"state_dict": Bomb()}, tmp_path / "bomb.ckpt")
    with pytest.raises(LabError, match="cannot be read"):
        read_checkpoint(tmp_path / "bomb.ckpt")
    assert not (tmp_path / "ran").exists()


def test_public_names():
    assert labutils.load_model is load_model and labutils.ConditionalVAE is ConditionalVAE
    assert checkpoint_config({"state_dict": {}, "config": LabConfig(width=24).to_dict()}).width == 24
    with pytest.raises(AttributeError):
        _ = labutils.nothing
