"""Checks of the exercises in notebook 07, validation."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labutils.checks.core import call, compare, exercise, require, same


@exercise("7.1", "the rollout from the prior")
def rollout(answer: Any, g: torch.Generator) -> None:
    """answer(step, frames, labels, z) -> (B, T, 3, H, W); frames, labels (B, T, 3, H, W), z (B, T-1, N, h, w)."""
    B, T, H, W, N = 2, 6, 4, 6, 3
    frames, labels = torch.rand(2, B, T, 3, H, W, generator=g)
    z = torch.randn(B, T - 1, N, 1, 1, generator=g)

    def step(last: Tensor, P: Tensor, z_t: Tensor) -> Tensor:
        return 0.7 * last + 0.6 * P.flip(-1) - 0.3 + 0.1 * z_t.sum(1, keepdim=True)  # leaves [0, 1] at places

    def slow(
        pose: int = 0, truth: bool = False, stale: bool = False, clamp: str = "all", fed: int = 0, first: int = 0,
        noise: int = 0,
    ) -> Tensor:  # fmt: skip
        """Clip after clip, with room for mistakes."""
        clips = []
        for b in range(B):
            x = frames[b : b + 1, first]
            made = [frames[b : b + 1, 0]]
            for t in range(1, T):
                last = frames[b : b + 1, t - 1 + fed] if truth else frames[b : b + 1, 0] if stale else x
                x = step(last, labels[b : b + 1, t + pose], z[b : b + 1, (t - 1 + noise) % (T - 1)])
                if clamp == "all":
                    x = x.clamp(0, 1)
                made.append(x)
            clip = torch.cat(made)
            clips.append(clip.clamp(0, 1) if clamp == "end" else clip)
        return torch.stack(clips)  # (B, T, 3, H, W)

    expected = slow()
    got = call(answer, step, frames.clone(), labels.clone(), z.clone())
    compare(
        "the video", got, expected,
        {
            "the last TRUE frame is fed: a leak, there is none in a test": slow(truth=True),
            "the true CURRENT frame is fed: a leak, it is the one to be predicted": slow(truth=True, fed=1),
            "x_1 is fed at every step; feed the frame that was predicted last": slow(stale=True),
            "frame t needs the pose of frame t, labels[:, t]; this is labels[:, t - 1]": slow(pose=-1),
            "predictions leave [0, 1]: clamp each one before it is kept and fed back": slow(clamp="none"),
            "each prediction must be clamped before it is fed back, not only at the end": slow(clamp="end"),
            "z[:, t - 1] belongs to labels[:, t]; this is z[:, t]": slow(noise=1),
            "the given frame x_1 is missing: it comes first in the video": expected[:, 1:],
            "the last frame is missing: labels[:, 1] .. labels[:, T - 1] give T - 1 predictions": expected[:, :-1],
            "stack the frames along dimension 1, (B, T, 3, H, W)": expected.transpose(0, 1),
        },
    )  # fmt: skip
    hidden = frames.clone()
    hidden[:, 1:] = float("nan")
    require(
        same(call(answer, step, hidden, labels.clone(), z.clone()), expected),
        "the same video where the true frames x_2 .. x_T are unknown", "another one",
        "it looks at frames that must be predicted; only frames[:, 0] may be used",
    )  # fmt: skip


@exercise("7.2", "the mean PSNR of a video")
def mean_psnr(answer: Any, g: torch.Generator) -> None:
    """answer(prediction, truth) -> dB, a number; both (T, 3, H, W), the given frame first."""
    T, H, W = 7, 4, 6
    truth = torch.rand(T, 3, H, W, generator=g)
    spread = torch.linspace(0.05, 0.6, T)[torch.randperm(T, generator=g)][:, None, None, None]
    prediction = truth + spread * torch.randn(truth.shape, generator=g)
    prediction[0] = truth[0]  # the frame that is given

    def decibel(mse: Any) -> np.ndarray:
        return -10 * np.log10(np.maximum(mse, 1e-300))

    def error(pred: Tensor) -> np.ndarray:
        return ((pred - truth) ** 2).numpy().astype(np.float64).mean(axis=(1, 2, 3))[1:]  # (T-1,)

    mse, raw = error(prediction.clamp(0, 1)), error(prediction)
    dB = decibel(mse)
    got = call(answer, prediction.clone(), truth.clone())
    if isinstance(got, (float, Tensor)) and not math.isnan(float(got)):
        require(
            float(got) < 90,
            f"{dB.mean():.4f}",
            got,
            "frame 1 is given: its MSE is 0 and its PSNR infinite; leave it out",
        )
    compare(
        "the mean PSNR in dB", got, dB.mean(),
        {
            "the dB of the mean MSE; take the dB of each frame, then the mean": decibel(mse.mean()),
            "the prediction is not clipped to [0, 1] first": decibel(raw).mean(),
            "not clipped, and the dB of the mean MSE": decibel(raw.mean()),
            "the data range is 1 here; this is the PSNR for a range of 255": dB.mean() + 20 * math.log10(255),
            "frame 1 is given and must not count; its error of 0 is in the mean MSE": decibel(mse.sum() / T),
            "the sum is divided by T; only T - 1 frames were predicted": dB.sum() / T,
            "log10, not the natural logarithm": dB.mean() * math.log(10),
            "PSNR is 10 log10 of the MSE, or 20 log10 of its root: this is half": dB.mean() / 2,
            "PSNR is 10 log10 of the MSE; 20 belongs to its root": dB.mean() * 2,
            "one frame is missing: frames 2..T count": dB[:-1].mean(),
            "frame 2 is missing: frames 2..T count": dB[1:].mean(),
        },
    )  # fmt: skip


@exercise("7.3", "float to uint8 without wrapping")
def to_bytes(answer: Any, g: torch.Generator) -> None:
    """answer(x float, any shape) -> uint8 of the same shape."""
    x = torch.rand(2, 3, 4, 6, generator=g) * 1.6 - 0.3
    x[0, 0, 0] = torch.tensor([0.0, 1.0, 1.004, -0.004, 254.6 / 255, 0.9999])  # ends of the range, and just outside
    got = call(answer, x.clone())
    scaled = (255 * x).double().numpy()
    expected = np.rint(scaled.clip(0, 255))
    inside = x.double().clamp(0, 1).numpy()
    compare(
        "the values", got, expected,
        {
            "values outside [0, 1] wrap around (256 becomes 0, -1 becomes 255): clip first": np.rint(scaled) % 256,
            "clip before the conversion: values outside [0, 1] wrap": scaled.astype(np.int64) % 256,
            "the fraction is cut off: a shift of half a gray level; round to nearest": np.floor(scaled.clip(0, 255)),
            "times 255, not 256": np.rint(256 * inside).clip(0, 255),
            "times 255 and rounded, not times 256 and cut off": np.floor(256 * inside).clip(0, 255),
            "the values are still in [0, 1]: times 255": inside,
            "0 or 1 only: multiply before you round": np.rint(inside),
            "not rounded and not yet uint8": scaled.clip(0, 255),
        },
        atol=1e-3,
    )  # fmt: skip
    kind = str(getattr(got, "dtype", type(got).__name__))
    require(kind.endswith("uint8") and "quint8" not in kind, "dtype uint8", kind, "convert at the end: .byte()")


@exercise("7.4", "the worst frame")
def worst_frame(answer: Any, g: torch.Generator) -> None:
    """answer(psnr (T-1,) of frames 2..T) -> (index in the video, x_1 being 0; PSNR in dB)."""
    T = 40
    psnr = (20 + 15 * torch.rand(T - 1, generator=g, dtype=torch.float64)).numpy()
    low = int(torch.randint(3, T - 4, (), generator=g))
    psnr[low], psnr[(low + 11) % (T - 4)] = 11.5, 44.5
    result = call(answer, psnr.copy())
    require(
        isinstance(result, (tuple, list)) and len(result) == 2, "two values (index, psnr)", result,
        "return the index and the PSNR, in this order",
    )  # fmt: skip
    index, value = (float(v) for v in result)
    best = int(psnr.argmax())
    compare(
        "index and PSNR", [index, value], [low + 1, psnr[low]],
        {
            "the curve starts at frame 2: entry k belongs to frame k + 1 of the video, x_1 being frame 0": [
                low, psnr[low],
            ],
            "counted from 1; here x_1 is frame 0": [low + 2, psnr[low]],
            "that is the best frame: a low PSNR is a bad one": [best + 1, psnr[best]],
            "that is the best frame, and the curve starts at frame 2": [best, psnr[best]],
            "the index is right; its PSNR is entry index - 1 of the curve": [low + 1, psnr[low + 1]],
            "return the index first, then the PSNR": [psnr[low], low + 1],
        },
    )  # fmt: skip
