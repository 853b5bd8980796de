"""Rollouts from the prior: a batch gives what each video alone gives, nothing of the future leaks, all is scored."""

import numpy as np
import pytest
import torch
from refusals import refuses
from skimage.metrics import peak_signal_noise_ratio
from tiny import H, W, config, noise, slow_loop
from tiny import model as make
from torch import nn

from labutils.analysis import best_of_n, one_step
from labutils.baselines import Baselines
from labutils.evaluation import evaluate, predict, prior_noise
from labutils.images import Video, to_float
from labutils.metrics import psnr, ssim


class FakeModel(nn.Module):
    """x_t = 0.6 x_{t-1} + 0.3 P_t + a little z_t; records how it was called."""

    latent_shape = (2, 4, 8)
    cfg = config()

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.05))
        self.batches, self.modes = [], []

    def label_transformation(self, labels):
        return labels

    def step(self, previous, label_feature, z):
        return 0.6 * previous + 0.3 * label_feature + self.gain * nn.functional.interpolate(z[:, :1], (H, W))

    def draw(self, previous, label_feature, eps):
        return eps

    def generate(self, x1, labels, eps, progress):
        self.batches.append(len(x1))
        self.modes.append(self.training)
        frames = [x1]
        for t in range(1, labels.shape[1]):
            frames.append(self.step(frames[-1], labels[:, t], eps[:, t - 1]).clamp(0, 1))
            progress(1)
        return torch.stack(frames, dim=1)


def video(name="1", T=6, seed=0, truth=True, size=(H, W)):
    whole = noise(T, seed, name, size)
    return whole if truth else Video(name, whole.frames[:1], whole.labels)


@pytest.fixture(params=["fake", "fast"])
def model(request):
    return FakeModel() if request.param == "fake" else make(config()).eval()


def rollout(model, known: Video, seed: int, name: str) -> np.ndarray:
    """A prediction step by step, with the noise of ``seed`` and ``name``."""
    z = prior_noise(model, len(known.labels) - 1, seed, name)
    return np.concatenate([known.frames[:1], slow_loop(model, known.frames[0], known.labels[1:], z)])


def test_a_batch_predicts_what_each_video_alone_gives(model):
    videos = [video("1", 6, 1), video("2", 9, 2, truth=False), video("3", 6, 3), video("4", 6, 4, truth=False)]
    for one, prediction in zip(videos, predict(model, videos, seed=5), strict=True):
        assert prediction.shape == one.labels.shape and prediction.dtype == np.uint8
        np.testing.assert_array_equal(prediction[0], one.frames[0])
        for other in (predict(model, [one], seed=5)[0], rollout(model, one, 5, one.name)):
            assert np.abs(other.astype(int) - prediction).max() <= 1  # one step of rounding: sums in another order


def test_videos_of_one_length_share_a_rollout():
    model, videos = FakeModel(), [video("1", 6, 1), video("2", 9, 2), video("3", 6, 3), video("4", 6, 4)]
    whole, parts = predict(model, videos), predict(model, videos, batch=2)
    assert sorted(model.batches[:2]) == [1, 3] and sorted(model.batches[2:]) == [1, 1, 2]
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(a, b)


def test_no_true_future_frame_leaks_into_a_prediction(model):
    known = video("1", 7, 1)
    frames = known.frames.copy()
    frames[1:] = 255 - frames[1:]
    (expected,) = predict(model, [known])
    for other in (Video("1", frames, known.labels), Video("1", known.frames[:1], known.labels)):
        np.testing.assert_array_equal(predict(model, [other])[0], expected)
    frames[0] = 255 - frames[0]
    assert (predict(model, [Video("1", frames, known.labels)])[0] != expected).any()  # the first frame does matter


def test_the_seed_and_the_name_fix_the_noise():
    model, known = FakeModel(), video()
    (first,), (again,), (other,) = (predict(model, [known], seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(again, first)
    renamed = predict(model, [Video("2", known.frames, known.labels)], seed=1)[0]
    assert (other != first).any() and (renamed != first).any()
    z = prior_noise(model, 4000, 0, "x")
    assert z.shape == (4000, 2, 4, 8) and abs(z.mean()) < 0.01 and abs(z.std() - 1) < 0.01


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_evaluated_in_eval_mode_and_given_back_as_it_was(training):
    model = FakeModel().train(training)
    predict(model, [video()], progress=True)
    assert model.modes == [False] and model.training == training
    model.gain.data.fill_(float("nan"))
    refuses(r"seq: frame 2 .* not finite", predict, model, [video("seq")])
    assert model.training == training


def test_prediction_names_bad_input():
    for videos, message in (
        ([], "no videos"),
        ([video("seq", size=(W, W))], r"seq: labels are \(6, 24, 24, 3\)"),
        ([video(T=1)], "T > 1"),
    ):
        refuses(message, predict, FakeModel(), videos)


def test_best_of_n_scores_n_different_samples():
    model, known = FakeModel(), video(T=5)
    scores = best_of_n(model, known, n=4, seed=3)
    assert scores.shape == (4, 4) and len(np.unique(scores[:, 0])) == 4 and model.batches == [4]
    np.testing.assert_array_equal(scores[:2], best_of_n(model, known, n=2, seed=3))
    np.testing.assert_array_equal(scores[2], psnr(rollout(model, known, 3, "1/2")[1:], known.frames[1:]))
    refuses("n is 0", best_of_n, model, known, n=0)


@pytest.mark.parametrize("chunk", [2, 64])
def test_one_step_feeds_the_true_previous_frame(model, chunk):
    known = video(T=6)
    z = prior_noise(model, 5, 3, "1")
    expected = []
    with torch.no_grad():
        for t in range(1, 6):
            feature = model.label_transformation(to_float(known.labels[t : t + 1]))
            prediction = model.step(to_float(known.frames[t - 1 : t]), feature, z[t - 1 : t])
            expected.append(psnr(prediction[0], to_float(known.frames[t])).item())
    np.testing.assert_allclose(one_step(model, known, seed=3, chunk=chunk), expected, rtol=1e-5)


@pytest.mark.parametrize("function", [best_of_n, one_step])
def test_scores_need_the_truth(function):
    refuses("1 of 5", function, FakeModel(), video(T=5, truth=False))


def test_evaluate_scores_frames_2_to_T_beside_the_baselines():
    model, train = FakeModel(), video("train", 20, 9)
    videos = [video("0", 6, 1), video("1", 8, 2), video("2", truth=False)]
    report = evaluate(model, videos, train, seed=4)
    for one, sequence, prediction in zip(videos, report.sequences, predict(model, videos, seed=4), strict=True):
        assert sequence.name == one.name
        np.testing.assert_array_equal(sequence.prediction, prediction)
        if not one.has_truth:
            assert sequence.psnr is None and sequence.ssim is None and sequence.baselines == {}
            continue
        expected = [peak_signal_noise_ratio(f, p) for f, p in zip(one.frames[1:], prediction[1:], strict=True)]
        np.testing.assert_allclose(sequence.psnr, expected)
        np.testing.assert_allclose(sequence.ssim, ssim(prediction[1:], one.frames[1:]))
        np.testing.assert_equal(sequence.baselines, Baselines(train).scores(one))
    # the mean of the sequences' means, not of all frames: the lengths differ
    assert report.average == pytest.approx(np.mean([s.psnr.mean() for s in report.sequences[:2]]))
    means = [Baselines().scores(v)["copy_first"].mean() for v in videos[:2]]
    assert report.baselines["copy_first"] == pytest.approx(np.mean(means))
