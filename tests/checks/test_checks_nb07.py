"""The checks of notebook 07 tell mistakes apart."""

import numpy as np
import pytest
import torch
from exercises import accepted, rejected

from labutils import checks


@pytest.mark.parametrize("check", [checks.rollout, checks.mean_psnr, checks.to_bytes, checks.worst_frame])
def test_an_answer_that_returns_nothing(check):
    rejected(check, lambda *args: None, "return")


# ---------------------------------------------------------------------------------------------------- 7.1, rollout


def make_rollout(pose=0, noise=-1, clamp="all", last="own", given=True, dim=1, stop=0):
    def answer(step, frames, labels, z):
        x = frames[:, 0]
        video = [x] if given else []
        for t in range(1, labels.shape[1] - stop):
            fed = {"own": x, "first": frames[:, 0], "true": frames[:, t - 1], "current": frames[:, t]}[last]
            x = step(fed, labels[:, t + pose], z[:, (t + noise) % z.shape[1]])
            if clamp == "all":
                x = x.clamp(0, 1)
            video.append(x)
        video = torch.stack(video, dim=dim)
        return video.clamp(0, 1) if clamp == "end" else video

    return answer


ROLLOUT = {
    "last TRUE frame is fed": make_rollout(last="true"),
    "true CURRENT frame is fed": make_rollout(last="current"),
    "x_1 is fed at every step": make_rollout(last="first"),
    r"this is labels\[:, t - 1\]": make_rollout(pose=-1),
    "clamp each one before": make_rollout(clamp="none"),
    "not only at the end": make_rollout(clamp="end"),
    r"this is z\[:, t\]": make_rollout(noise=0),
    "x_1 is missing": make_rollout(given=False),
    "last frame is missing": make_rollout(stop=1),
    "along dimension 1": make_rollout(dim=0),
}


@pytest.mark.parametrize("hint", ROLLOUT)
def test_rollout_mistakes(hint):
    rejected(checks.rollout, ROLLOUT[hint], hint)


def test_rollout_that_peeks_without_effect_on_the_numbers():
    def answer(step, frames, labels, z):
        return make_rollout()(step, frames, labels, z) + 0 * frames.mean()

    rejected(checks.rollout, answer, "only frames")


# ------------------------------------------------------------------------------------------------------- 7.2, PSNR


def make_psnr(clip=True, first=1, last=None, kind="mean of dB", factor=10.0, peak=1.0, log=torch.log10):
    def answer(prediction, truth):
        pred = prediction.clamp(0, 1) if clip else prediction
        mse = (pred - truth).square().mean(dim=(1, 2, 3))[first:last]
        if kind == "mean of MSE":
            mse = mse.mean()
        return (factor * log(peak**2 / mse)).mean()

    return answer


PSNR = {
    "dB of the mean MSE; take": make_psnr(kind="mean of MSE"),
    "is not clipped": make_psnr(clip=False),
    "not clipped, and": make_psnr(clip=False, kind="mean of MSE"),
    "range of 255": make_psnr(peak=255.0),
    "frame 1 is given": make_psnr(first=0),
    "natural logarithm": make_psnr(log=torch.log, factor=10.0),
    "20 belongs to its root": make_psnr(factor=20.0),
    "this is half": make_psnr(factor=5.0),
    "one frame is missing": make_psnr(last=-1),
    "frame 2 is missing": make_psnr(first=2),
    "must not count": make_psnr(first=0, kind="mean of MSE"),
    "divided by T; only": lambda p, x: make_psnr()(p, x) * (len(p) - 1) / len(p),
}


@pytest.mark.parametrize("hint", PSNR)
def test_psnr_mistakes(hint):
    rejected(checks.mean_psnr, PSNR[hint], hint)


# ------------------------------------------------------------------------------------------------------ 7.3, uint8

BYTES = {
    "wrap": lambda x: ((255 * x).round().to(torch.int64) % 256).to(torch.uint8),
    "fraction is cut off": lambda x: (255 * x.clamp(0, 1)).byte(),
    "times 255, not 256": lambda x: (256 * x.clamp(0, 1)).round().clamp(0, 255).byte(),
    "times 255 and rounded": lambda x: (256 * x.clamp(0, 1)).clamp(0, 255).byte(),
    "multiply before you round": lambda x: x.clamp(0, 1).round(),
    "convert at the end": lambda x: (255 * x.clamp(0, 1)).round(),
    "still in": lambda x: x.clamp(0, 1),
    "not yet uint8": lambda x: 255 * x.clamp(0, 1),
}


@pytest.mark.parametrize("hint", BYTES)
def test_bytes_mistakes(hint):
    rejected(checks.to_bytes, BYTES[hint], hint)


def test_bytes_with_numpy_passes():
    accepted(checks.to_bytes, lambda x: np.rint(255 * x.numpy().clip(0, 1)).astype(np.uint8))


# ------------------------------------------------------------------------------------------------ 7.4, worst frame

WORST = {
    "the curve starts at frame 2: entry k": lambda p: (int(p.argmin()), float(p.min())),
    "counted from 1": lambda p: (int(p.argmin()) + 2, float(p.min())),
    "that is the best frame: a low": lambda p: (int(p.argmax()) + 1, float(p.max())),
    "best frame, and": lambda p: (int(p.argmax()), float(p.max())),
    "entry index - 1": lambda p: (int(p.argmin()) + 1, float(p[int(p.argmin()) + 1])),
    "index first": lambda p: (float(p.min()), int(p.argmin()) + 1),
    "two values|return the index": lambda p: int(p.argmin()) + 1,
}


@pytest.mark.parametrize("hint", WORST)
def test_worst_frame_mistakes(hint):
    rejected(checks.worst_frame, WORST[hint], hint)
