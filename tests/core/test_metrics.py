"""Measures of frames against scikit-image and values by hand."""

import numpy as np
import pytest
import torch
from refusals import refuses
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from labutils.images import to_float
from labutils.metrics import grade, psnr, ssim

H, W = 32, 64


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    """Frames and noisy copies of them, each with its own amount of noise, uint8 (2, 5, H, W, 3)."""
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (2, 5, H, W, 3), dtype=np.uint8)
    return a, np.clip(a + rng.normal(0, 20, a.shape) * rng.random((2, 5, 1, 1, 1)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "measure, best, oracle, tolerance",
    [
        (psnr, 100, lambda a, b: peak_signal_noise_ratio(b, a, data_range=255), 1e-5),
        (ssim, 1, lambda a, b: structural_similarity(a / 255, b / 255, channel_axis=-1, data_range=1), 1e-4),
    ],
    ids=["psnr", "ssim"],
)
def test_a_measure_is_that_of_scikit_image_for_each_frame(pair, measure, best, oracle, tolerance):
    a, b = pair
    expected = [[oracle(a[i, t], b[i, t]) for t in range(5)] for i in range(2)]
    np.testing.assert_allclose(measure(a, b), expected, rtol=1e-9)
    assert measure(to_float(a), to_float(b)).shape == (2, 5)
    np.testing.assert_allclose(measure(to_float(a), to_float(b)), expected, rtol=tolerance)
    np.testing.assert_allclose(measure(a, a), best)
    np.testing.assert_allclose(measure(to_float(a) + 5, torch.ones(2, 5, 3, H, W)), best)  # clipped


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_a_measure_names_bad_input(pair, measure):
    a = pair[0][0]
    for pred, target in ((a, a[1:]), (a, to_float(a)), (a.astype(float), a), (to_float(a)[:, :2], to_float(a)[:, :2])):
        refuses("prediction and target are", measure, pred, target)
    bad = to_float(a)
    bad[0, 0, 0, 0] = float("nan")
    refuses("finite", measure, bad, to_float(a))
    for odd, message in ((np.inf, "finite"), (np.nan, "finite"), (-1, r"from -1 to 1; they must lie in \[0, 1\]")):
        target = to_float(a).clone()
        target[0, 0, 0, 0] = odd
        refuses(message, measure, to_float(a), target)
        if message == "finite":
            refuses(message, measure, target, to_float(a))  # infinity is no white
    refuses("7x7", ssim, a[:, :6], a[:, :6])


def test_psnr_of_a_known_error_counts_all_pixels_and_channels():
    target = torch.full((3, H, W), 0.5)
    assert psnr(target + 0.1, target).item() == pytest.approx(20, abs=1e-4)
    one = torch.zeros(3, H, W)
    one[0, 0, 0] = 1
    assert psnr(one, torch.zeros(3, H, W)).item() == pytest.approx(10 * np.log10(3 * H * W), abs=1e-4)


def test_grades_begin_at_whole_decibels_and_are_not_rounded_up():
    for limit, percent, below in ((25, 100, 90), (24, 90, 80), (23, 80, 70), (22, 70, 60), (21, 60, 50), (20, 50, 0)):
        assert (grade(limit), grade(limit - 1e-5)) == (percent, below)
    assert grade(99) == 100
    refuses("nan", grade, float("nan"))
