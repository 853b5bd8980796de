"""Measures against scikit-image and hand computation; rollouts against one-by-one rollouts; reports and submissions."""

import csv
import json
import time

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import nn

from labutils.config import LabConfig
from labutils.errors import LabError
from labutils.evaluation import (
    Report,
    SequenceReport,
    baselines,
    best_of_n,
    evaluate,
    grade,
    mean_training_frame,
    predict,
    prior_noise,
    psnr,
    read_submission,
    ssim,
    write_submission,
)
from labutils.images import Video, to_float, to_uint8
from labutils.model import ConditionalVAE

H, W = 8, 16


class FakeModel(nn.Module):
    """x_t = 0.6 x_{t-1} + 0.3 P_t + a little z_t; records how it was called."""

    latent_shape = (2, 4, 8)

    def __init__(self):
        super().__init__()
        self.cfg = LabConfig(frame_H=H, frame_W=W)
        self.gain = nn.Parameter(torch.tensor(0.05))
        self.batches, self.modes = [], []

    def generate(self, x1, labels, z=None, generator=None, progress=None):
        self.batches.append(len(x1))
        self.modes.append(self.training)
        frames = [x1]
        for t in range(1, labels.shape[1]):
            noise = nn.functional.interpolate(z[:, t - 1, :1], (H, W))  # (B, 1, H, W)
            frames.append((0.6 * frames[-1] + 0.3 * labels[:, t] + self.gain * noise).clamp(0, 1))
            if progress:
                progress(1)
        return torch.stack(frames, dim=1)


def video(name="1", T=6, seed=0, truth=True, size=(H, W)):
    rng = np.random.default_rng(seed)
    frames, labels = rng.integers(0, 256, (2, T, *size, 3), dtype=np.uint8)
    return Video(name, frames if truth else frames[:1], labels)


# ---------------------------------------------------------------------------------------------------------- measures


def test_psnr_is_that_of_scikit_image_for_each_frame():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (2, 5, H, W, 3), dtype=np.uint8)
    b = np.clip(a + rng.normal(0, 20, a.shape) * rng.random((2, 5, 1, 1, 1)), 0, 255).astype(np.uint8)
    expected = [[peak_signal_noise_ratio(b[i, t], a[i, t], data_range=255) for t in range(5)] for i in range(2)]
    np.testing.assert_allclose(psnr(a, b), expected, rtol=1e-12)
    result = psnr(to_float(a), to_float(b))
    assert isinstance(result, torch.Tensor) and result.shape == (2, 5)
    np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_psnr_of_a_known_error():
    target = torch.full((3, H, W), 0.5)
    assert psnr(target + 0.1, target).item() == pytest.approx(20, abs=1e-4)
    one = torch.zeros(3, H, W)
    one[0, 0, 0] = 1  # MSE = 1 / (3 H W): all pixels and channels count
    assert psnr(one, torch.zeros(3, H, W)).item() == pytest.approx(10 * np.log10(3 * H * W), abs=1e-4)


def test_psnr_clips_the_prediction_and_caps_identical_frames():
    target = torch.ones(3, H, W)
    assert psnr(target + 5, target).item() == 100
    frames = video().frames
    assert (psnr(frames, frames) == 100).all()
    nearly = frames.copy()
    nearly[0, 0, 0, 0] ^= 1
    assert psnr(nearly, frames)[0] < 100


def test_ssim_is_that_of_scikit_image_for_each_frame():
    a, b = video(seed=1).frames, video(seed=2).frames
    b = (0.7 * a + 0.3 * b).astype(np.uint8)
    expected = [structural_similarity(x / 255, y / 255, channel_axis=-1, data_range=1) for x, y in zip(a, b)]
    np.testing.assert_allclose(ssim(a, b), expected, rtol=1e-9)
    np.testing.assert_allclose(ssim(to_float(a), to_float(b)), expected, atol=1e-5)
    assert ssim(a[None, :2], b[None, :2]).shape == (1, 2)
    np.testing.assert_allclose(ssim(a, a), 1)


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_measures_name_bad_input(measure):
    a = video().frames
    for pred, target in ((a, a[1:]), (a, to_float(a)), (a.astype(float), a), (to_float(a)[:, :2], to_float(a)[:, :2])):
        with pytest.raises(LabError, match="prediction and target are"):
            measure(pred, target)
    bad = to_float(a)
    bad[0, 0, 0, 0] = float("nan")
    with pytest.raises(LabError, match="finite"):
        measure(bad, to_float(a))


def test_ssim_needs_its_window():
    with pytest.raises(LabError, match="7x7"):
        ssim(np.zeros((1, 6, 20, 3), np.uint8), np.zeros((1, 6, 20, 3), np.uint8))


@pytest.mark.parametrize(
    ("average", "percent"),
    [(99, 100), (25, 100), (24.999, 90), (24, 90), (23.999, 80), (23, 80), (22, 70), (21, 60), (20, 50), (19.999, 0)],
)
def test_grade_boundaries(average, percent):
    assert grade(average) == percent


def test_grade_of_no_number():
    with pytest.raises(LabError, match="nan"):
        grade(float("nan"))


def test_grade_does_not_round_up():
    assert Report([SequenceReport("1", np.zeros(0), psnr=np.array([24.99999]))]).grade == 90


# -------------------------------------------------------------------------------------------------------- prediction


def models():
    torch.manual_seed(0)
    return [FakeModel(), ConditionalVAE(LabConfig(frame_H=H, frame_W=W, width=16)).eval()]


@pytest.mark.parametrize("model", models(), ids=["fake", "fast"])
def test_a_batch_predicts_what_each_video_alone_gives(model):
    videos = [video("1", 6, 1), video("2", 9, 2, truth=False), video("3", 6, 3), video("4", 6, 4, truth=False)]
    together = predict(model, videos, seed=5)
    for one, prediction in zip(videos, together, strict=True):
        assert prediction.shape == one.labels.shape and prediction.dtype == np.uint8
        np.testing.assert_array_equal(prediction[0], one.frames[0])
        (alone,) = predict(model, [one], seed=5)
        assert np.abs(alone.astype(int) - prediction).max() <= 1  # one step of rounding: batches sum in another order
        z = prior_noise(model, len(one.labels) - 1, 5, one.name)
        with torch.no_grad():
            direct = model.generate(to_float(one.frames[:1]), to_float(one.labels)[None], z=z[None])[0]
        assert np.abs(to_uint8(direct).astype(int) - prediction).max() <= 1


def test_videos_of_one_length_share_a_rollout():
    model = FakeModel()
    videos = [video("1", 6, 1), video("2", 9, 2), video("3", 6, 3), video("4", 6, 4)]
    predict(model, videos)
    assert sorted(model.batches) == [1, 3]
    whole = predict(model, videos)
    model.batches.clear()
    parts = predict(model, videos, batch=2)
    assert sorted(model.batches) == [1, 1, 2]
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("model", models(), ids=["fake", "fast"])
def test_no_true_future_frame_leaks_into_a_prediction(model):
    known = video("1", 7, 1)
    frames = known.frames.copy()
    frames[1:] = 255 - frames[1:]
    others = [Video("1", frames, known.labels), Video("1", known.frames[:1], known.labels)]
    (expected,) = predict(model, [known])
    for other in others:
        np.testing.assert_array_equal(predict(model, [other])[0], expected)
    frames[0] = 255 - frames[0]
    assert (predict(model, [others[0]])[0] != expected).any()  # the first frame does matter


def test_the_seed_and_the_name_fix_the_noise():
    model = FakeModel()
    known = video()
    (first,) = predict(model, [known], seed=1)
    np.testing.assert_array_equal(predict(model, [known], seed=1)[0], first)
    assert (predict(model, [known], seed=2)[0] != first).any()
    assert (predict(model, [Video("2", known.frames, known.labels)], seed=1)[0] != first).any()
    z = prior_noise(model, 4000, 0, "x")
    assert z.shape == (4000, 2, 4, 8) and abs(z.mean()) < 0.01 and abs(z.std() - 1) < 0.01


def test_the_model_is_evaluated_in_eval_mode_and_given_back_as_it_was():
    model = FakeModel().train()
    predict(model, [video()])
    assert model.modes == [False] and model.training
    model.eval()
    predict(model, [video()], progress=True)
    assert not model.training


def test_prediction_names_bad_input():
    model = FakeModel().train()
    with pytest.raises(LabError, match="no videos"):
        predict(model, [])
    with pytest.raises(LabError, match=r"seq: labels are \(6, 16, 16, 3\)"):
        predict(model, [video("seq", size=(16, 16))])
    with pytest.raises(LabError, match="T > 1"):
        predict(model, [video(T=1)])
    model.gain.data.fill_(float("nan"))
    with pytest.raises(LabError, match=r"seq: frame 2 .* not finite"):
        predict(model, [video("seq")])
    assert model.training


def test_best_of_n_scores_n_different_samples():
    model, known = FakeModel(), video(T=5)
    scores = best_of_n(model, known, n=4, seed=3)
    assert scores.shape == (4, 4) and len(np.unique(scores[:, 0])) == 4 and model.batches == [4]
    np.testing.assert_array_equal(scores, best_of_n(model, known, n=4, seed=3))
    np.testing.assert_array_equal(scores[:2], best_of_n(model, known, n=2, seed=3))
    z = prior_noise(model, 4, 3, "1/2")
    sample = to_uint8(model.generate(to_float(known.frames[:1]), to_float(known.labels)[None], z=z[None])[0])
    np.testing.assert_array_equal(scores[2], psnr(sample[1:], known.frames[1:]))
    with pytest.raises(LabError, match="n is 0"):
        best_of_n(model, known, n=0)
    with pytest.raises(LabError, match="1 of 5"):
        best_of_n(model, video(T=5, truth=False))


# --------------------------------------------------------------------------------------------- baselines and reports


def levels(*values):
    return np.stack([np.full((H, W, 3), v, np.uint8) for v in values])


def db(difference):
    return 20 * np.log10(255 / difference)


def test_baselines_by_hand():
    known = Video("1", levels(100, 110, 130), levels(0, 0, 0))
    found = baselines(known, mean_frame=np.full((H, W, 3), 104.6))
    assert list(found) == ["copy_first", "mean_frame", "copy_previous"]
    np.testing.assert_allclose(found["copy_first"], [db(10), db(30)])
    np.testing.assert_allclose(found["mean_frame"], [db(5), db(25)])  # 104.6 is shown as 105
    np.testing.assert_allclose(found["copy_previous"], [db(10), db(20)])
    assert list(baselines(known)) == ["copy_first", "copy_previous"]
    assert (mean_training_frame(Video("train", levels(100, 101, 103), levels(0, 0, 0))) == 101).all()
    with pytest.raises(LabError, match="mean frame is"):
        baselines(known, mean_frame=np.zeros((W, H, 3)))
    with pytest.raises(LabError, match="not all"):
        baselines(video(truth=False))


def test_evaluate_scores_frames_2_to_T_beside_the_baselines():
    model, videos = FakeModel(), [video("0", 6, 1), video("1", 8, 2)]
    report = evaluate(model, videos, mean_frame=levels(128)[0], seed=4)
    for one, sequence, prediction in zip(videos, report.sequences, predict(model, videos, seed=4), strict=True):
        assert sequence.name == one.name
        np.testing.assert_array_equal(sequence.prediction, prediction)
        expected = [peak_signal_noise_ratio(f, p) for f, p in zip(one.frames[1:], prediction[1:], strict=True)]
        np.testing.assert_allclose(sequence.psnr, expected)
        np.testing.assert_allclose(sequence.ssim, ssim(prediction[1:], one.frames[1:]))
        np.testing.assert_array_equal(sequence.baselines["copy_previous"], baselines(one)["copy_previous"])
    # the mean of the sequences' means, not of all frames: the lengths differ
    assert report.average == pytest.approx(np.mean([s.psnr.mean() for s in report.sequences]))
    assert report.baselines["copy_first"] == pytest.approx(np.mean([baselines(v)["copy_first"].mean() for v in videos]))


def made(*means):
    """A report whose sequences have these mean PSNRs (None: no truth)."""
    sequences = []
    for k, mean in enumerate(means):
        sequence = SequenceReport(str(k), np.zeros((3, H, W, 3), np.uint8))
        if mean is not None:
            sequence.psnr, sequence.ssim = np.array([mean - 1, mean + 1.0]), np.array([0.9, 0.8])
            sequence.baselines = {"copy_first": np.array([18.0, 16]), "copy_previous": np.array([40.0, 42])}
        sequences.append(sequence)
    return Report(sequences)


def test_table_has_the_assignments_lines():
    lines = made(31.234, 28.966).table().splitlines()
    assert lines[:3] == ["PSNR for testing sequence1: 31.23", "PSNR for testing sequence2: 28.97", "AVG: 30.10"]
    assert lines[3] == "Grade: 100 % of the points for prediction quality" and lines[4] == "SSIM: 0.850"
    assert lines[5] == "Baseline 17.00 dB: copy the first frame"
    assert lines[6].startswith("Baseline 41.00 dB: copy the last true frame") and "unfair" in lines[6]


def test_table_and_json_without_truth(tmp_path):
    report = made(24.0, None)
    lines = report.table().splitlines()
    assert lines[1] == "PSNR for testing sequence2: no true frames, only predicted"
    assert lines[2] == "AVG: 24.00" and "1 of 2" in lines[3] and "90 %" in lines[4]
    nothing = made(None, None)
    assert nothing.table().splitlines()[2:] == ["AVG: none, since no true frames are known"]
    assert nothing.average is None and nothing.grade is None and nothing.baselines == {}
    stored = json.loads(nothing.save(tmp_path / "none.json").read_text())
    assert stored["average"] is None and stored["sequences"][0]["psnr"] is None
    model = FakeModel()
    (sequence,) = evaluate(model, [video(truth=False)]).sequences
    assert sequence.psnr is None and sequence.prediction.shape == (6, H, W, 3)


def test_saved_report(tmp_path):
    path = made(31.0, 29.0).save(tmp_path / "new" / "psnr.json")
    stored = json.loads(path.read_text())
    assert stored["average"] == 30 and stored["grade"] == 100 and stored["baselines"]["copy_first"] == 17
    assert [s["psnr"] for s in stored["sequences"]] == [31, 29]
    assert stored["sequences"][0]["psnr_per_frame"] == [30, 32]
    assert stored["sequences"][1]["baselines"]["copy_previous"] == 41
    with pytest.raises(LabError, match=r"psnr\.json.* cannot be written"):
        made(31.0).save(path / "below")


# -------------------------------------------------------------------------------------------------------- submission


def test_submission_round_trip_and_exact_rows(tmp_path):
    first, second = video(T=4, seed=1).frames, video(T=3, seed=2).frames
    first[0, 0, 0] = (0, 7, 255)
    path = write_submission(tmp_path / "submission.csv", [first, second])
    rows = list(csv.reader(path.open()))
    n = 3 * H * W
    assert rows[0] == ["id", *map(str, range(n))] and len(rows) == 8
    for k, frame in enumerate([*first, *second]):  # channel first, written out slowly
        values = [frame[y, x, c] for c in range(3) for y in range(H) for x in range(W)]
        assert rows[k + 1] == [str(k), *map(str, values)]
    np.testing.assert_array_equal(read_submission(path, H, W), np.concatenate([first, second]))


def test_submission_names_bad_input(tmp_path):
    path, frames = tmp_path / "s.csv", video(T=2).frames
    for bad in ([], [frames.astype(float)], [frames, frames[:, :4]], [frames[0]]):
        with pytest.raises(LabError, match="write_submission"):
            write_submission(path, bad)
    assert not path.exists()
    with pytest.raises(LabError, match=r"s\.csv cannot be read"):
        read_submission(path)
    write_submission(path, [frames])
    with pytest.raises(LabError, match=rf"{1 + 3 * H * W} columns"):
        read_submission(path)
    text = path.read_text()
    path.write_text(text.replace("\n1,", "\n5,"))
    with pytest.raises(LabError, match="must count"):
        read_submission(path, H, W)
    path.write_text(text.rsplit(",", 1)[0] + ",256\n")
    with pytest.raises(LabError, match=r"0\.\.255"):
        read_submission(path, H, W)


def test_a_submission_of_full_width_is_written_quickly(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (630, 32, 64, 3), dtype=np.uint8)
    start = time.perf_counter()
    write_submission(tmp_path / "s.csv", [frames])
    assert time.perf_counter() - start < 3  # formatting the numbers one by one takes longer
    header = (tmp_path / "s.csv").open().readline()
    assert header.startswith("id,0,1,") and header.endswith(",6143\n")
