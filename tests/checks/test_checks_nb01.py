"""The checks of notebook 01 tell mistakes apart and take other ways to the same result."""

import math

import numpy as np
import pytest
import torch
from exercises import accepted, rejected

from labutils import checks, evaluation


def _images(images):
    return torch.from_numpy(images)


@pytest.mark.parametrize(
    "wrong, hint",
    [
        (lambda x: _images(x).permute(0, 3, 1, 2).float(), "still 0..255"),
        (lambda x: _images(x) / 255, "still \\(N, H, W, 3\\)"),
        (lambda x: _images(x).float(), "neither scaled nor permuted"),
        (lambda x: _images(x).reshape(len(x), 3, *x.shape[1:3]) / 255, "mixes colours"),
        (lambda x: _images(x).permute(0, 3, 2, 1) / 255, "height and width are swapped"),
        (lambda x: _images(x).permute(0, 3, 1, 2) / 256, "white is 255"),
        (lambda x: _images(x).permute(0, 3, 1, 2) // 255, "convert to float first"),
        (lambda x: _images(x).permute(0, 3, 1, 2) / 127.5 - 1, "not \\[-1, 1\\]"),
        (lambda x: _images(x).permute(0, 3, 1, 2).flip(1) / 255, "red and blue"),
        (lambda x: np.moveaxis(x, -1, 1) / 255, "from_numpy"),
        (lambda x: torch.from_numpy(np.moveaxis(x, -1, 1) / 255), "float64"),
    ],
)
def test_images_to_tensors_mistakes(wrong, hint):
    rejected(checks.images_to_tensors, wrong, hint)


def _mse(pred, target):
    return ((pred.clip(0, 1) - target) ** 2).mean((-3, -2, -1))


@pytest.mark.parametrize(
    "wrong, hint",
    [
        (lambda p, x: -10 * torch.log10(((p - x) ** 2).mean((-3, -2, -1))), "not clipped"),
        (lambda p, x: -10 * torch.log10(((p.clip(0, 1) - x) ** 2).mean()), "last three axes only"),
        (lambda p, x: -10 * torch.log10(_mse(p, x)).mean(), "over the batch too"),
        (lambda p, x: -10 * torch.log10(((p.clip(0, 1) - x) ** 2).mean((-2, -1))), "each channel"),
        (lambda p, x: -10 * torch.log10(((p.clip(0, 1) - x) ** 2).mean((-2, -1))).mean(-1), "three channels"),
        (lambda p, x: -10 * torch.log10(((p.clip(0, 1) - x) ** 2).sum((-3, -2, -1))), "summed"),
        (lambda p, x: -10 * torch.log(_mse(p, x)), "not natural"),
        (lambda p, x: 20 * torch.log10(1 / _mse(p, x)), "20 belongs to its root"),
        (lambda p, x: 10 * torch.log10(1 / _mse(p, x).sqrt()), "root as well"),
        (lambda p, x: 20 * math.log10(255) - 10 * torch.log10(_mse(p, x)), "not 255"),
        (lambda p, x: 10 * torch.log10(_mse(p, x)), "smaller error must give a larger"),
        (lambda p, x: -10 * torch.log10((p.clip(0, 1) - x).abs().mean((-3, -2, -1))), "not absolute"),
        (_mse, "this is the MSE"),
    ],
)
def test_psnr_mistakes(wrong, hint):
    rejected(checks.psnr_per_frame, wrong, hint)


def test_psnr_that_only_works_in_batches_is_rejected():
    def wrong(pred, target):
        return -10 * (pred.clamp(0, 1) - target).square().mean(dim=(2, 3, 4)).log10()

    rejected(checks.psnr_per_frame, wrong, "Dimension out of range")


def _draw(low, high):
    def draw(num_frames, clip_len, count, generator):
        return torch.randint(low, high(num_frames, clip_len), (count,), generator=generator)

    return draw


@pytest.mark.parametrize(
    "wrong, hint",
    [
        (_draw(0, lambda n, t: n - t), "leaves out its upper end"),
        (_draw(0, lambda n, t: n - t + 2), "the last start is N - T"),
        (_draw(0, lambda n, t: n), "the last start is N - T"),
        (_draw(1, lambda n, t: n - t + 1), "first clip is never drawn"),
        (_draw(-1, lambda n, t: n - t + 1), "counts from the end"),
        (lambda n, t, k, g: torch.randint(0, n // t, (k,), generator=g) * t, "fixed windows"),
        (lambda n, t, k, g: torch.randint(0, n - t + 1, (k,)), "generator=generator"),
        (lambda n, t, k, g: torch.randperm(n - t + 1, generator=g)[:k], "with replacement"),
        (lambda n, t, k, g: (torch.rand(k, generator=g) * (n - t)).round().long(), "only half a share"),
        (lambda n, t, k, g: torch.randint(0, n, (k,), generator=g).clamp(max=n - t), "drawn too often"),
        (lambda n, t, k, g: torch.rand(k, generator=g) * (n - t + 1), "whole numbers"),
        (lambda n, t, k, g: torch.randint(0, n - t + 1, (k, 1), generator=g), "one start for each clip"),
    ],
)
def test_random_starts_mistakes(wrong, hint):
    rejected(checks.random_starts, wrong, hint)


def test_another_way_to_draw_evenly_passes():
    def other(num_frames, clip_len, count, generator):
        return (torch.rand(count, generator=generator) * (num_frames - clip_len + 1)).floor().long()

    accepted(checks.random_starts, other)


def _psnr(a, b):
    return evaluation.psnr(a.expand_as(b), b)


@pytest.mark.parametrize(
    "wrong, hint",
    [
        (lambda x: _psnr(x[:1], x).mean(), "frame 1 is in the mean"),
        (lambda x: (10 / ((x[0] - x) ** 2).mean((1, 2, 3))).log10().mean(), "frame 1 is in the mean"),
        (lambda x: _psnr(x[:1], x[1:]).sum() / len(x), "divided by T"),
        (lambda x: evaluation.psnr(x[:-1], x[1:]).mean(), "copies the last true frame"),
        (lambda x: -10 * ((x[:1] - x[1:]) ** 2).mean().log10(), "PSNR of the mean error"),
        (lambda x: _psnr(x[:1], x[1:]), "take their mean"),
        (lambda x: _psnr(x[:1], x[2:]).mean(), "starts one frame later"),
        (lambda x: _psnr(x[-1:], x[:-1]).mean(), "copy the first"),
    ],
)
def test_copy_first_mistakes(wrong, hint):
    rejected(checks.copy_first_psnr, wrong, hint)


def test_the_lab_agrees_with_the_exercises():
    """evaluation.psnr is itself an answer to 1.2."""
    accepted(checks.psnr_per_frame, evaluation.psnr)
