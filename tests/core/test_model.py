"""The modules against the course's fixture; the model against slow loops; what must never leak."""

import json
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from tiny import H, W, config
from tiny import model as make

from labutils.checkpoint import load_model
from labutils.errors import LabError
from labutils.model import ConditionalVAE
from labutils.modules import kl_divergence, reparameterize

COURSE = Path(__file__).parent / "data" / "course"


@pytest.fixture(params=["fast", "course"])
def model(request):
    return make(config(variant=request.param)).eval()


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, 3, H, W, generator=torch.Generator().manual_seed(seed))


def test_the_course_checkpoint_gives_the_courses_names_shapes_and_outputs():
    model = load_model(COURSE / "epoch=3.ckpt")
    expected = {name: tuple(shape) for name, shape in json.loads((COURSE / "state_dict.json").read_text()).items()}
    assert {name: tuple(w.shape) for name, w in model.state_dict().items()} == expected
    assert model.num_parameters() == 1_585_620
    io = {name: torch.from_numpy(array) for name, array in np.load(COURSE / "io.npz").items()}
    with torch.no_grad():
        label, frame = model.label_transformation(io["label"]), model.frame_transformation(io["prev"])
        _, mu, logvar = model.posterior(io["cur"], label)
        found = dict(frame=model.step(io["prev"], label, io["z"]), mu=mu, logvar=logvar)
    found |= dict(frame_feature_mean=frame.mean((2, 3)), label_feature_mean=label.mean((2, 3)))
    for name, value in found.items():
        torch.testing.assert_close(value, io[name], atol=1e-5, rtol=0)


def test_kl_equals_torch_distributions():
    mu, logvar = torch.randn(2, 5, 4, 3, 2)
    normal = torch.distributions.Normal(mu, (logvar / 2).exp())
    expected = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).flatten(1).sum(1)
    torch.testing.assert_close(kl_divergence(mu, logvar), expected)


def test_reparameterize_has_the_right_moments_and_gradients():
    mu, logvar = torch.tensor([0.5, -1.0]).requires_grad_(), torch.tensor([0.2, -2.0]).requires_grad_()
    torch.manual_seed(0)
    z = reparameterize(mu.expand(200_000, 2), logvar.expand(200_000, 2))
    torch.testing.assert_close(z.mean(0), mu, atol=0.01, rtol=0)
    torch.testing.assert_close(z.var(0), logvar.exp(), atol=0.02, rtol=0)
    eps = torch.tensor([0.3, -1.2])
    reparameterize(mu, logvar, eps).sum().backward()
    torch.testing.assert_close(mu.grad, torch.ones(2))
    torch.testing.assert_close(logvar.grad, 0.5 * eps * (0.5 * logvar).exp().detach())


def test_the_fast_variant_is_bounded_without_clipping():
    model = make(config())
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(20)
        out = model.step(images(4), model.label_transformation(images(4, seed=1)), torch.randn(4, *model.latent_shape))
    assert out.min() >= 0 and out.max() <= 1


def test_the_background_starts_without_the_person():
    """Who stands at one place in most frames is no part of the room; where nobody ever leaves, the median stands."""
    model = make(config())
    frames, labels = np.full((9, H, W, 3), 100, np.uint8), np.full((9, H, W, 3), 255, np.uint8)
    for t in range(9):
        left = 2 if t < 6 else 18  # the person stands on the left in two frames of three
        frames[t, 3:12, left : left + 4] = 30
        labels[t, 5:10, left + 2] = (0, 255, 0)
    labels[0] = 255  # a pose that was not found
    room = torch.full((3, H, W), 100 / 255)
    model.set_background(frames, labels)
    torch.testing.assert_close(torch.sigmoid(model.Generator.background), room)
    model.set_background(frames, np.zeros_like(labels))
    room[:, 3:12, 2:6] = 30 / 255
    torch.testing.assert_close(torch.sigmoid(model.Generator.background), room)


def test_the_course_variant_has_no_background_to_start():
    model = make(config(variant="course"))
    before = {name: w.clone() for name, w in model.state_dict().items()}
    model.set_background(*np.zeros((2, 9, H, W, 3), np.uint8))
    assert all(torch.equal(w, before[name]) for name, w in model.state_dict().items())


TEACHER = {"transition": [[1], [1]], "forced": [[0, 1, 1], [1, 1, 1]], "mixed": [[1, 0, 1, 0, 0], [0, 1, 1, 1, 0]]}


@pytest.mark.parametrize("feeding", TEACHER)
def test_rollout_equals_a_slow_loop(model, feeding):
    """`forced` and `transition` take the way that is parallel in time."""
    teacher = torch.tensor(TEACHER[feeding]).bool()
    T = teacher.shape[1] + 1
    frames, labels = images(2, T), images(2, T, seed=1)
    eps = torch.randn(2, T - 1, *model.latent_shape, generator=torch.Generator().manual_seed(3))
    got, kl = model(frames, labels, teacher, eps)
    assert got.shape == frames[:, 1:].shape
    for b in range(2):
        last = frames[b, :1]
        for t in range(T - 1):
            if teacher[b, t]:
                last = frames[b, t : t + 1]
            label = model.label_transformation(labels[b, t + 1 : t + 2])
            z, mu, logvar = model.posterior(frames[b, t + 1 : t + 2], label)
            assert z.shape == mu.shape == logvar.shape == (1, *model.latent_shape)
            last = model.step(last, label, mu + (0.5 * logvar).exp() * eps[b, t])
            torch.testing.assert_close(got[b, t : t + 1], last, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(kl[b, t : t + 1], kl_divergence(mu, logvar), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("feedback_grad", [False, True])
def test_gradients_flow_through_generated_frames_only_when_asked(feedback_grad):
    labels = images(1, 3, seed=1).requires_grad_()
    never = torch.zeros(1, 2, dtype=torch.bool)
    predictions, _ = make(config()).rollout(images(1, 3), labels, never, None, feedback_grad)
    predictions[:, 1].sum().backward()  # the second prediction depends on P_2 only through the first prediction
    assert bool(labels.grad[:, 1].abs().sum() > 0) == feedback_grad


def test_generation_equals_a_slow_loop_over_single_sequences(model):
    T = 70  # more than one chunk of labels
    x1, labels, done = images(2), images(2, T, seed=1), []
    z = torch.randn(2, T - 1, *model.latent_shape, generator=torch.Generator().manual_seed(2))
    video = model.generate(x1, labels, z, progress=done.append)
    assert done == [1] * (T - 1) and video.shape == labels.shape and torch.equal(video[:, 0], x1)
    assert video.min() >= 0 and video.max() <= 1
    with torch.no_grad():
        for b in range(2):
            x = x1[b : b + 1]
            for t in range(1, T):
                x = model.step(x, model.label_transformation(labels[b : b + 1, t]), z[b : b + 1, t - 1]).clamp(0, 1)
                torch.testing.assert_close(video[b, t], x[0], atol=1e-4, rtol=1e-3)


def test_generation_never_calls_the_posterior(model, monkeypatch):
    leak = AssertionError("the posterior sees x_t; generation must not use it")
    monkeypatch.setattr(model.Gaussian_Predictor, "forward", Mock(side_effect=leak))
    model.generate(images(1), images(1, 4))


def test_prior_draws_are_standard_normal_and_seeded(model):
    draw = model.sample_prior(4000, torch.Generator().manual_seed(0))
    assert draw.shape == (4000, *model.latent_shape)
    assert abs(draw.mean()) < 0.01 and abs(draw.std() - 1) < 0.01
    a, b, c = (
        model.generate(images(1), images(1, 4, seed=1), generator=torch.Generator().manual_seed(s)) for s in (5, 5, 6)
    )
    assert torch.equal(a, b) and not torch.equal(a, c)


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
    with pytest.raises(LabError, match=message):
        ConditionalVAE(config()).generate(torch.rand(x1), torch.rand(labels), None if z is None else torch.zeros(z))
