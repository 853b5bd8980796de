"""The Python side of ReparameterizationExplorer and LatentExplorer against autograd, numpy and the model itself."""

import base64
import json
import re
import zlib

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from labutils.config import LabConfig
from labutils.dataset import load_split
from labutils.errors import LabError
from labutils.images import Video, to_float
from labutils.model import ConditionalVAE, load_model
from labutils.modules import kl_divergence, reparameterize
from labutils.widgets import page
from labutils.widgets.latent import (
    LIMIT,
    PRIOR_DRAWS,
    STEPS,
    LatentExplorer,
    ReparameterizationExplorer,
    correlation,
    difference_image,
    held_out_fit,
    principal_directions,
    read_light,
)  # fmt: skip


@pytest.fixture(scope="module")
def model(trained):
    return load_model(trained / "last.ckpt")


@pytest.fixture(scope="module")
def video(dance, model):
    return load_split(dance, "val", model.cfg.replace(DR=str(dance), quiet=True))


@pytest.fixture
def explorer(model, video, dance):
    return LatentExplorer(model, video, light=dance / "val" / "light.csv", index=7)


def flat_z(explorer):
    return torch.from_numpy(explorer.z.astype(np.float32))[None]


def step(model, video, index, z):
    """The model's own answer in grey levels (H, W, 3)."""
    with torch.no_grad():
        feature = model.label_transformation(to_float(video.labels[index])[None])
        frame = model.step(to_float(video.frames[index - 1])[None], feature, z)
    return frame[0].clamp(0, 1).movedim(0, -1).numpy() * 255


# --------------------------------------------------------------------------------------------- reparameterization


@pytest.mark.parametrize(("mu", "logvar"), [(0.0, 0.0), (1.3, -1.7), (-2.0, 1.1)])
def test_reparameterization_numbers_are_those_of_the_modules_and_of_autograd(mu, logvar):
    widget = ReparameterizationExplorer(mu=mu, logvar=logvar, draws=64, seed=3)
    m, v = (torch.tensor([[x]], dtype=torch.float64, requires_grad=True) for x in (mu, logvar))
    eps = torch.tensor(widget.eps, dtype=torch.float64)
    z = reparameterize(m.expand(64, 1), v.expand(64, 1), eps[:, None])
    np.testing.assert_allclose(widget.z, z.detach().numpy()[:, 0], rtol=1e-12)
    kl = kl_divergence(m, v)[0]
    assert widget.kl == pytest.approx(kl.item(), abs=1e-12)
    q, p = torch.distributions.Normal(m, torch.exp(0.5 * v)), torch.distributions.Normal(0.0, 1.0)
    ratios = (q.log_prob(z) - p.log_prob(z)).detach().numpy()
    estimate, error = widget.kl_estimate
    assert estimate == pytest.approx(ratios.mean()) and error == pytest.approx(ratios.std(ddof=1) / 8)
    of_z = torch.autograd.grad(z[widget.chosen, 0], (m, v))
    of_kl = torch.autograd.grad(kl, (m, v))
    expected = dict(zip(("z_mu", "z_logvar", "kl_mu", "kl_logvar"), (g.item() for g in (*of_z, *of_kl)), strict=True))
    assert widget.gradients == pytest.approx(expected, abs=1e-12)


def test_the_estimate_comes_to_the_closed_form():
    widget = ReparameterizationExplorer(mu=0.8, logvar=-1.0, draws=20_000)
    estimate, error = widget.kl_estimate
    assert 0 < error < 0.02 and abs(estimate - widget.kl) < 4 * error


def test_reparameterization_stays_in_range():
    widget = ReparameterizationExplorer(mu=99, logvar=-99, chosen=500)
    assert (widget.mu, widget.logvar, widget.chosen) == (3.0, -6.0, 31)
    widget.eps = [0.5, -0.5]
    assert widget.chosen == 1
    with pytest.raises(LabError, match="not a number"):
        widget.mu = float("nan")
    with pytest.raises(LabError, match="draws is 1"):
        ReparameterizationExplorer(draws=1)
    assert "KL" in repr(widget) and isinstance(widget.figure(), Figure) and widget.figure()._repr_png_()


# ---------------------------------------------------------------------------------------------------- algebra


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


# ---------------------------------------------------------------------------------------------------- explorer


def test_mu_and_kl_are_those_of_the_posterior_on_true_frames(explorer, model, video):
    assert explorer.mu.shape == (len(video.labels), *model.latent_shape)
    with torch.no_grad():
        for t in (0, 11, len(video.labels) - 1):
            x, P = to_float(video.frames[t])[None], to_float(video.labels[t])[None]
            _, mu, logvar = model.posterior(x, model.label_transformation(P))
            np.testing.assert_allclose(explorer.mu[t], mu[0].numpy(), atol=1e-5)
            assert explorer.kl[t] == pytest.approx(kl_divergence(mu, logvar).item(), abs=1e-3)


def test_scores_and_correlation(explorer, dance):
    light = read_light(dance / "val" / "light.csv")
    flat = explorer.mu.reshape(len(light), -1)
    np.testing.assert_allclose(explorer.directions @ explorer.directions.T, np.eye(len(explorer.std)), atol=1e-6)
    np.testing.assert_allclose(explorer.scores.std(0), 1, rtol=1e-4)
    for k, score in enumerate(explorer.scores.T):
        assert explorer.correlation[k] == pytest.approx(
            np.corrcoef(flat @ explorer.directions[k], light)[0, 1], abs=1e-5
        )
        assert explorer.correlation[k] >= 0 and correlation(score, light) == pytest.approx(explorer.correlation[k])
    assert explorer.r2 <= 1 and explorer.combination.shape == light.shape
    assert explorer.best_correlation == pytest.approx(np.corrcoef(explorer.combination, light)[0, 1])


def test_a_factor_that_mu_holds_is_found(model, video, explorer):
    factor = 2 - 3 * explorer.scores[:, 1] + 0.01 * np.random.default_rng(0).normal(size=len(video.labels))
    found = LatentExplorer(model, video, light=factor)
    assert found.correlation.argmax() == 1 == found.direction
    assert found.correlation[1] > 0.99 and found.r2 > 0.95
    assert found.directions[1] @ explorer.directions[1] == pytest.approx(-1)  # turned to where the factor grows


def test_prediction_is_the_models_own(explorer, model, video):
    zero = torch.zeros(1, *model.latent_shape)
    np.testing.assert_array_equal(explorer.prediction, np.rint(step(model, video, 7, zero)).astype(np.uint8))
    explorer.values = [3.0, -2.0, 0.5, 0.0][: len(explorer.std)]
    z = sum(v * s * d for v, s, d in zip(explorer.values, explorer.std, explorer.directions, strict=True))
    np.testing.assert_allclose(explorer.z.ravel(), z, atol=1e-9)
    explorer.index = 12
    np.testing.assert_allclose(explorer.prediction, step(model, video, 12, flat_z(explorer)), atol=0.51)
    np.testing.assert_allclose(explorer.prediction_at_zero, step(model, video, 12, zero), atol=0.51)


def test_a_draw_from_the_prior_keeps_what_the_sliders_cannot_show(explorer):
    explorer.draw_from_prior(3)
    expected = np.random.default_rng(3).standard_normal(explorer.z.size)
    np.testing.assert_allclose(explorer.z.ravel(), expected, atol=1e-9)
    assert np.abs(explorer.values).max() <= LIMIT
    before = explorer.z.ravel()
    explorer.values = [0.0, *explorer.values[1:]]
    moved, along = explorer.z.ravel() - before, explorer.directions[0]
    np.testing.assert_allclose(moved, (moved @ along) * along, atol=1e-9)


def test_values_and_index_stay_in_range(explorer, video):
    explorer.values = [99.0] * len(explorer.std)
    explorer.index = 10_000
    assert explorer.values == [LIMIT] * len(explorer.std) and explorer.index == len(video.labels) - 1
    explorer.index = -5
    explorer.direction = 99
    assert explorer.index == 1 and explorer.direction == len(explorer.std)
    with pytest.raises(LabError, match="values has 1 numbers; there are"):
        explorer.values = [0.0]


def test_the_model_is_left_in_the_mode_in_which_it_came(model, video):
    model.train()
    try:
        explorer = LatentExplorer(model, video)
        _ = explorer.prediction
        assert model.training and all(p.grad is None for p in model.parameters())
    finally:
        model.eval()
    assert explorer.correlation is None and explorer.r2 is None and "light" not in repr(explorer)


def unpacked(grid, shape):
    return np.frombuffer(zlib.decompress(grid["frames"]), "<i2").reshape(-1, *shape) / STEPS


def test_the_grid_holds_the_same_predictions(explorer, model, video):
    grid, shape = explorer._grids[0], (model.cfg.frame_H, model.cfg.frame_W, 3)
    frames, points, K = unpacked(grid, shape), explorer._about["grid"], len(explorer.std)
    assert len(frames) == 1 + K * points + PRIOR_DRAWS and points % 2 == 1
    np.testing.assert_allclose(frames[0], frames[1 + points // 2], atol=0.02)  # the middle of a direction is z = 0
    explorer.values = [0.0] * (K - 1) + [LIMIT]
    np.testing.assert_allclose(frames[K * points], step(model, video, 7, flat_z(explorer)), atol=0.02)
    explorer.draw_from_prior(2)
    np.testing.assert_allclose(frames[1 + K * points + 1], step(model, video, 7, flat_z(explorer)), atol=0.02)
    context = np.frombuffer(zlib.decompress(grid["context"]), np.uint8).reshape(3, *shape)
    np.testing.assert_array_equal(context, [video.labels[7], video.frames[6], video.frames[7]])


def answer(explorer, **question):
    sent = []
    explorer.send = lambda content, buffers=None: sent.append((content, buffers))
    explorer._answer(explorer, {"ask": "a 1", **question}, [])
    (reply,) = sent
    assert reply[0]["answer"] == "a 1" and reply[0]["ms"] > 0
    return reply


def test_answers_to_the_browser(explorer, model, video):
    K, shape = len(explorer.std), (model.cfg.frame_H, model.cfg.frame_W, 3)
    reply, buffers = answer(explorer, index=5, values=[1.0] * K, draw=0, have=None)
    assert len(buffers) == 5 and reply["index"] == 5 and len(reply["posterior"]) == K
    z = torch.from_numpy((explorer.std @ explorer.directions).astype(np.float32)).reshape(1, *model.latent_shape)
    shown = np.frombuffer(buffers[0], "<i2").reshape(shape) / STEPS
    np.testing.assert_allclose(shown, step(model, video, 5, z), atol=0.02)
    np.testing.assert_array_equal(np.frombuffer(buffers[3], np.uint8).reshape(shape), video.frames[4])
    assert len(answer(explorer, index=5, values=[1.0] * K, draw=0, have=5)[1]) == 2  # the browser has the rest
    reply, _ = answer(explorer, index=5, values=[0.0] * K, draw=2, fresh=True, have=5)
    assert reply["values"] == pytest.approx(explorer._rest(2)[0].tolist())
    answer(explorer, index=3, grid=True)
    assert [g["index"] for g in explorer._grids] == [7, 3]
    assert "KeyError" in answer(explorer, index=3)[0]["error"]


def test_what_does_not_fit_is_named(model, video, dance, tmp_path):
    small = Video("small", video.frames[:, ::2, ::2], video.labels[:, ::2, ::2])
    with pytest.raises(LabError, match=r"small: frames are \(16, 32, 3\), the model was built for \(32, 64, 3\)"):
        LatentExplorer(model, small)
    with pytest.raises(LabError, match=r"1 true frames for 30 poses; .* give a training or validation video"):
        LatentExplorer(model, Video("test", video.frames[:1], video.labels))
    with pytest.raises(LabError, match=r"light is \(29,\); expected one finite number for each of the 30 frames"):
        LatentExplorer(model, video, light=np.zeros(29))
    with pytest.raises(LabError, match="expected one finite number"):
        LatentExplorer(model, video, light=np.full(30, np.nan))
    with pytest.raises(LabError, match="directions is 5"):
        LatentExplorer(model, video, directions=5)
    with pytest.raises(LabError, match="cannot be read"):
        LatentExplorer(model, video, light=tmp_path / "no.csv")
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(LabError, match="expected the header frame,light"):
        read_light(tmp_path / "bad.csv")
    with pytest.raises(LabError, match="moments is 0"):
        LatentExplorer(model, video).to_html(tmp_path / "x.html", moments=0)


def test_a_latent_with_places_works_too(video):
    cfg = LabConfig(variant="course", F_dim=8, L_dim=8, N_dim=4, D_out_dim=8)
    explorer = LatentExplorer(ConditionalVAE(cfg), video, directions=2, index=4)
    assert explorer.z.shape == (4, 32, 64) and explorer.directions.shape == (2, 4 * 32 * 64)
    flat = explorer.mu.reshape(len(explorer.mu), -1).astype(np.float64)
    s = np.linalg.svd(flat - flat.mean(0), compute_uv=False)
    np.testing.assert_allclose(explorer.std, s[:2] / np.sqrt(len(flat)), rtol=1e-3)


def test_page_and_figure(explorer, tmp_path):
    grids = list(explorer._grids)
    text = explorer.to_html(tmp_path / "latent.html", moments=3).read_text(encoding="utf-8")
    values = json.loads(re.search(r'<script type="application/json">(.*?)</script>', text, re.S)[1])
    assert [g["index"] for g in values["_grids"]] == [1, 7, 29] and explorer._grids == grids
    assert base64.b64decode(values["_grids"][1]["frames"]["$bytes"]) == grids[0]["frames"]
    figure = explorer.figure(steps=(-2, 0, 2))
    pictures = [axes for axes in figure.axes if axes.images]
    assert len(pictures) == 2 * 3 * len(explorer.std) and figure._repr_png_()[:4] == b"\x89PNG"
    assert len(figure.axes) == len(pictures) + 2 and "R²" in figure.axes[-1].get_title(loc="left")
    assert (np.asarray(pictures[4].images[0].get_array()) == 128).all()  # no difference to z = 0 at z = 0
    picture = base64.b64decode(explorer._repr_mimebundle_()[0]["image/png"])
    assert picture[:4] == b"\x89PNG" and len(picture) <= page.STILL_BYTES


def test_the_difference_is_amplified_around_grey():
    zero = np.full((1, 1, 3), 100.0)
    np.testing.assert_array_equal(difference_image(zero + [1.5, -0.5, 90], zero, 16)[0, 0], [152, 120, 255])
