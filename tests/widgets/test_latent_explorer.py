"""The Python side of LatentExplorer against the model itself and numpy."""

import base64
import copy
import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from messages import ask
from refusals import refuses

from labutils.analysis import correlation
from labutils.checkpoint import load_model
from labutils.config import LabConfig
from labutils.dance import read_light
from labutils.errors import LabError
from labutils.images import Video, to_float
from labutils.model import ConditionalVAE
from labutils.modules import kl_divergence
from labutils.widgets import LatentExplorer, page
from labutils.widgets.latent import LIMIT, PRIOR_DRAWS, STEPS, difference_image


@pytest.fixture(scope="module")
def model(trained):
    return load_model(trained / "last.ckpt")


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


def test_mu_and_kl_are_those_of_the_posterior_on_true_frames(explorer, model, video):
    assert explorer.mu.shape == (len(video.labels), *model.latent_shape)
    with torch.no_grad():
        for t in (0, 11, len(video.labels) - 1):
            x, P = to_float(video.frames[t])[None], to_float(video.labels[t])[None]
            _, mu, logvar = model.posterior(x, model.label_transformation(P))
            np.testing.assert_allclose(explorer.mu[t], mu[0].numpy(), atol=1e-5)
            assert explorer.kl[t] == pytest.approx(kl_divergence(mu, logvar).item(), abs=1e-3)


def test_a_posterior_of_what_is_new_is_given_the_true_previous_frame(video):
    model = ConditionalVAE(LabConfig(width=8, N_dim=2, posterior="innovation")).eval()
    explorer = LatentExplorer(model, video, index=4)
    with torch.no_grad():
        for t, before in ((0, 0), (11, 10)):  # the first one has none: nothing is new
            last, x, P = (to_float(a)[None] for a in (video.frames[before], video.frames[t], video.labels[t]))
            _, mu, logvar = model.posterior(x, model.label_transformation(P), previous=last)
            np.testing.assert_allclose(explorer.mu[t], mu[0].numpy(), atol=1e-5)
            assert explorer.kl[t] == pytest.approx(kl_divergence(mu, logvar).item(), abs=1e-3)
    refuses("has a learned prior", LatentExplorer, ConditionalVAE(LabConfig(width=8, prior="learned")), video)


def test_scores_and_correlation(explorer, dance):
    light = read_light(dance / "val" / "light.csv")
    flat = explorer.mu.reshape(len(light), -1)
    np.testing.assert_allclose(explorer.directions @ explorer.directions.T, np.eye(len(explorer.std)), atol=1e-6)
    np.testing.assert_allclose(explorer.scores.std(0), explorer.std, rtol=1e-4)
    for k, score in enumerate(explorer.scores.T):
        expected = np.corrcoef(flat @ explorer.directions[k], light)[0, 1]
        assert explorer.correlation[k] == pytest.approx(expected, abs=1e-5)
        assert explorer.correlation[k] >= 0 and correlation(score, light) == pytest.approx(explorer.correlation[k])
    assert explorer.r2 <= 1 and explorer.combination.shape == light.shape
    assert explorer.best_correlation == pytest.approx(np.corrcoef(explorer.combination, light)[0, 1])


def test_beside_the_r2_stands_that_of_an_untrained_model(explorer, model, video, dance):
    torch.manual_seed(1)
    untrained = LatentExplorer(ConditionalVAE(model.cfg), video, light=dance / "val" / "light.csv")
    assert explorer.untrained_r2 == pytest.approx(untrained.r2) != pytest.approx(explorer.r2)
    assert f"{explorer.r2:.2f}, untrained {untrained.r2:.2f}" in repr(explorer)
    torch.manual_seed(7)
    LatentExplorer(model, video, light=dance / "val" / "light.csv")
    assert torch.initial_seed() == 7  # nobody else's draws start anew


def test_effect_is_the_mean_change_of_a_pixel_between_z_0_and_both_ends(model, video, explorer):
    index, (direction, *_) = 9, torch.from_numpy(explorer.directions.astype(np.float32))
    z = 1.5 * direction.reshape(1, *model.latent_shape)
    zero, *ends = (step(model, video, index, factor * z) for factor in (0, 1, -1))
    expected = np.mean([np.abs(end - zero).mean() for end in ends]) / 255
    assert explorer.effect(1.5, [index])[0] == pytest.approx(expected, rel=1e-4) and expected > 0
    both = [explorer.effect(1.5, [t]) for t in (index, 3)]
    np.testing.assert_allclose(explorer.effect(1.5, [index, 3]), np.mean(both, axis=0), rtol=1e-5)
    assert explorer.gain == 16  # this model hardly listens to z


def test_a_z_that_moves_pixels_visibly_is_shown_without_magnification(model, video):
    model = copy.deepcopy(model)
    model.Generator.out.weight.data[:4], model.Generator.out.bias.data[:4] = 0, 2  # opacity one half
    while LatentExplorer(model, video, index=7).effect(2, [7]).max() < 0.05:
        model.Decoder_Fusion.latent.weight.data *= 2
    assert LatentExplorer(model, video, index=7).gain == 1


def test_a_factor_that_mu_holds_is_found(model, video, explorer):
    noise = 0.01 * np.random.default_rng(0).normal(size=len(video.labels))
    factor = 2 - 3 * explorer.scores[:, 1] / explorer.std[1] + noise
    found = LatentExplorer(model, video, light=factor)
    assert found.correlation.argmax() == 1 == found.direction
    assert found.correlation[1] > 0.99 and found.r2 > 0.95
    assert found.directions[1] @ explorer.directions[1] == pytest.approx(-1)  # turned to where the factor grows


def test_in_the_stored_notebook_z_moves_pixels_visibly():
    book = Path(__file__).resolve().parents[2] / "notebooks" / "03_reparameterization.ipynb"
    cells = {cell["id"]: cell for cell in json.loads(book.read_text(encoding="utf-8"))["cells"]}
    (output,) = cells["light-effect"]["outputs"]
    told = re.search(r"at z = ±2 along the strongest direction: (\d\.\d+)", "".join(output["text"]))
    assert float(told[1]) >= 0.05


def test_prediction_is_the_models_own(explorer, model, video):
    zero = torch.zeros(1, *model.latent_shape)
    np.testing.assert_array_equal(explorer.prediction, np.rint(step(model, video, 7, zero)))
    explorer.values = [3.0, -2.0, 0.5, 0.0][: len(explorer.std)]
    z = sum(v * d for v, d in zip(explorer.values, explorer.directions, strict=True))
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


def test_the_grid_holds_the_same_predictions(explorer, model, video):
    values, K, shape = page.state(explorer), len(explorer.std), (model.cfg.frame_H, model.cfg.frame_W, 3)
    (grid,), points = values["_grids"], values["_about"]["grid"]
    data, context = (zlib.decompress(base64.b64decode(grid[name]["$bytes"])) for name in ("frames", "context"))
    frames = np.frombuffer(data, "<i2").reshape(-1, *shape) / STEPS
    assert len(frames) == 1 + K * points + PRIOR_DRAWS + 1 and points % 2 == 1
    np.testing.assert_allclose(frames[0], frames[1 + points // 2], atol=0.02)  # the middle of a direction is z = 0
    explorer.values = [0.0] * (K - 1) + [LIMIT]
    np.testing.assert_allclose(frames[K * points], step(model, video, 7, flat_z(explorer)), atol=0.02)
    explorer.draw_from_prior(2)
    np.testing.assert_allclose(frames[1 + K * points + 1], step(model, video, 7, flat_z(explorer)), atol=0.02)
    explorer.draw, explorer.values = 0, explorer.posterior_values().tolist()
    np.testing.assert_allclose(frames[-1], step(model, video, 7, flat_z(explorer)), atol=0.02)
    given = [video.labels[7], video.frames[6], video.frames[7]]
    np.testing.assert_array_equal(np.frombuffer(context, np.uint8).reshape(3, *shape), given)


def test_answers_to_the_browser(explorer, model, video):
    K, shape = len(explorer.std), (model.cfg.frame_H, model.cfg.frame_W, 3)
    reply, buffers = ask(explorer, index=5, values=[1.0] * K, draw=0, have=None)
    assert len(buffers) == 5 and reply["index"] == 5 and len(reply["posterior"]) == K
    z = torch.from_numpy(explorer.directions.sum(0).astype(np.float32)).reshape(1, *model.latent_shape)
    shown = np.frombuffer(buffers[0], "<i2").reshape(shape) / STEPS
    np.testing.assert_allclose(shown, step(model, video, 5, z), atol=0.02)
    assert buffers[2:] == [a.tobytes() for a in (video.labels[5], video.frames[4], video.frames[5])]
    assert len(ask(explorer, index=5, values=[1.0] * K, draw=0, have=5)[1]) == 2  # the browser has the rest
    explorer.draw_from_prior(2)
    reply, _ = ask(explorer, index=5, values=[0.0] * K, draw=2, fresh=True, have=5)
    assert reply["values"] == pytest.approx(explorer.values)
    ask(explorer, index=3, grid=True)
    assert [g["index"] for g in page.state(explorer)["_grids"]] == [7, 3]
    assert "KeyError" in ask(explorer, index=3)[0]["error"]


def test_what_does_not_fit_is_named(model, video, dance, tmp_path):
    small = Video("small", video.frames[:, ::2, ::2], video.labels[:, ::2, ::2])
    refuses(r"small: frames are \(16, 32, 3\), the model was built for \(32, 64, 3\)", LatentExplorer, model, small)
    with pytest.raises(LabError, match=r"1 true frames for 30 poses; .* give a training or validation video"):
        LatentExplorer(model, Video("test", video.frames[:1], video.labels))
    with pytest.raises(LabError, match=r"light is \(29,\); expected one finite number for each of the 30 frames"):
        LatentExplorer(model, video, light=np.zeros(29))
    refuses("expected one finite number", LatentExplorer, model, video, light=np.full(30, np.nan))
    refuses("directions is 5", LatentExplorer, model, video, directions=5)
    refuses("cannot be read", LatentExplorer, model, video, light=tmp_path / "no.csv")
    refuses("moments is 0", LatentExplorer(model, video).to_html, tmp_path / "x.html", moments=0)


def test_a_latent_with_places_works_too(video):
    cfg = LabConfig(variant="course", F_dim=8, L_dim=8, N_dim=4, D_out_dim=8)
    explorer = LatentExplorer(ConditionalVAE(cfg), video, directions=2, index=4)
    assert explorer.z.shape == (4, 32, 64) and explorer.directions.shape == (2, 4 * 32 * 64)
    flat = explorer.mu.reshape(len(explorer.mu), -1).astype(np.float64)
    s = np.linalg.svd(flat - flat.mean(0), compute_uv=False)
    np.testing.assert_allclose(explorer.std, s[:2] / np.sqrt(len(flat)), rtol=1e-3)


def test_page_and_figure(explorer, tmp_path):
    before = page.state(explorer)
    text = explorer.to_html(tmp_path / "latent.html", moments=3).read_text(encoding="utf-8")
    values = json.loads(re.search(r'<script type="application/json">(.*?)</script>', text, re.S)[1])
    assert [g["index"] for g in values["_grids"]] == [1, 7, 29] and page.state(explorer) == before
    assert values["_grids"][1]["frames"] == before["_grids"][0]["frames"] and "<h1>The latent z</h1>" in text
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
