"""The exercises on data: from images to tensors, PSNR, random clips, and a baseline."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labutils.checks.core import call, compare, exercise, fail, require

CAP = 100.0  # dB of two identical frames, as in evaluation.psnr


@exercise("1.1", "images to tensors")
def images_to_tensors(answer: Any, g: torch.Generator) -> None:
    """uint8 array (N, H, W, 3) -> float32 tensor (N, 3, H, W) in [0, 1]."""
    for N, H, W in ((5, 4, 6), (2, 8, 3)):
        images = torch.randint(0, 256, (N, H, W, 3), generator=g, dtype=torch.uint8).numpy()
        images[0, 0, 0] = (0, 128, 255)  # both ends of the range
        expected = np.empty((N, 3, H, W))
        for c in range(3):
            expected[:, c] = images[:, :, :, c] / 255
        result = call(answer, images.copy())
        require(
            isinstance(result, Tensor), "a torch.Tensor", type(result).__name__,
            "torch.from_numpy makes a tensor of an array",
        )  # fmt: skip
        channels_first = np.moveaxis(images, -1, 1)  # (N, 3, H, W)
        compare(
            f"tensor of images {images.shape}", result, expected,
            {
                "the values are still 0..255; divide by 255": channels_first,
                "the axes are still (N, H, W, 3); channels come before height and width": images / 255,
                "neither scaled nor permuted yet: axes (N, 3, H, W), values in [0, 1]": images,
                "a reshape keeps the order in memory and so mixes colours and places; permute moves the axes":
                    images.reshape(N, 3, H, W) / 255,
                "height and width are swapped: the axes 0, 1, 2, 3 become 0, 3, 1, 2": expected.swapaxes(-1, -2),
                "white is 255, not 256": channels_first / 256,
                "whole numbers were divided as whole numbers; convert to float first": channels_first // 255,
                "the range is [0, 1] here, not [-1, 1]": 2 * expected - 1,
                "red and blue are swapped": expected[:, ::-1],
            },
        )  # fmt: skip
        require(
            result.dtype == torch.float32, "torch.float32", str(result.dtype),
            "the weights of a model are float32; dividing a uint8 array by 255 gives float64", "dtype",
        )  # fmt: skip


@exercise("1.2", "PSNR per frame")
def psnr_per_frame(answer: Any, g: torch.Generator) -> None:
    """pred and target (..., 3, H, W), target in [0, 1] -> PSNR in dB of each frame, (...,)."""
    for batch in ((2, 4), ()):
        target = torch.rand(*batch, 3, 5, 7, generator=g)  # (..., 3, H, W)
        noise = torch.randn(*batch, 3, 5, 7, generator=g)
        size = 0.05 + 0.3 * torch.rand(*batch, 1, 1, 1, generator=g)  # another error in each frame
        pred = target + size * noise  # leaves [0, 1] here and there
        pairs = zip(pred.reshape(-1, 105).tolist(), target.reshape(-1, 105).tolist())
        errors = [[(min(max(p, 0.0), 1.0) - x) ** 2 for p, x in zip(*pair)] for pair in pairs]
        expected = np.reshape([10 * math.log10(1 / (sum(e) / len(e))) for e in errors], batch)  # (...,)

        square = (pred.clamp(0, 1) - target).square()  # (..., 3, H, W)
        mse = square.mean(dim=(-3, -2, -1))  # (...,)
        raw = (pred - target).square().mean(dim=(-3, -2, -1))
        compare(
            f"PSNR in dB of frames {tuple(pred.shape)}", call(answer, pred.clone(), target.clone()), expected,
            {
                "the prediction is not clipped to [0, 1] before the comparison": -10 * raw.log10(),
                "average over the last three axes only, one value for each frame": -10 * square.mean().log10(),
                "this averages over the batch too, and in dB; keep one value for each frame": -10 * mse.log10().mean(),
                "this is one value for each channel; the MSE of a frame is over its channels too":
                    -10 * square.mean(dim=(-2, -1)).log10(),
                "this averages the PSNR of the three channels; average the squared error first":
                    -10 * square.mean(dim=(-2, -1)).log10().mean(dim=-1),
                "this averages over the batch axes and keeps the pixels; average over the last three axes":
                    -10 * square.flatten(0, -4).mean(dim=0).log10() if batch else torch.nan,
                "the squared errors are summed; MSE is their mean": -10 * square.sum(dim=(-3, -2, -1)).log10(),
                "the logarithm is to base 10, not natural": -10 * mse.log(),
                "the logarithm is to base 10, not 2": -10 * mse.log2(),
                "the factor is 10 for a squared error; 20 belongs to its root": -20 * mse.log10(),
                "the squared error has its factor 10 already; do not take the root as well": -5 * mse.log10(),
                "the data range is 1 here, not 255": 10 * (255**2 / mse).log10(),
                "a smaller error must give a larger PSNR: 1 / MSE, or a minus": 10 * mse.log10(),
                "the error is squared, not absolute":
                    -10 * (pred.clamp(0, 1) - target).abs().mean(dim=(-3, -2, -1)).log10(),
                "this is the MSE; PSNR is 10 log10(1 / MSE)": mse,
            },
        )  # fmt: skip


@exercise("1.3", "random clips")
def random_starts(answer: Any, g: torch.Generator) -> None:
    """(num_frames, clip_len, count, generator) -> first frames of random clips, integers (count,)."""
    N, T, count = 9, 4, 6000  # 6 places; a share's std is 0.5 %
    last, seed = N - T, int(torch.randint(2**31, (), generator=g))
    starts, again = (call(answer, N, T, count, torch.Generator().manual_seed(seed)) for _ in range(2))
    what = f"starts of {count} clips of {T} in {N} frames"
    require(
        isinstance(starts, Tensor) and not starts.is_floating_point(), "a tensor of whole numbers",
        str(starts.dtype) if isinstance(starts, Tensor) else type(starts).__name__, "torch.randint draws whole numbers",
        what,
    )  # fmt: skip
    require(
        starts.shape == (count,), f"shape ({count},)", f"shape {tuple(starts.shape)}",
        "one start for each clip; places are drawn with replacement, so count may be larger than their number", what,
    )  # fmt: skip
    require(
        torch.equal(starts, again), "the same starts from generators of the same seed", "other starts",
        "draw from the generator that is given: generator=generator", what,
    )  # fmt: skip
    low, high = int(starts.min()), int(starts.max())
    wanted, got = f"from 0 to {last}", f"from {low} to {high}"
    if high > last:
        over = f"a clip from {last + 1} on needs frame {N}, but the last index is {N - 1}"
        fail(wanted, got, f"{over}; the last start is N - T", what)
    if low < 0:
        fail(wanted, got, "a negative start counts from the end", what)
    if bool((starts % T == 0).all()):
        fail(wanted, got, "these are fixed windows, multiples of the clip length; every place must be possible", what)
    if high == last - 1:
        hint = f"torch.randint leaves out its upper end, so the last place {last} is never drawn: N - T + 1 places"
        fail(wanted, got, hint, what)
    if low == 1:
        fail(wanted, got, "indices count from 0; the first clip is never drawn", what)
    share = torch.bincount(starts, minlength=N)[: last + 1] / count  # (places,)
    found = ", ".join(f"{p:.0%}" for p in share.tolist())
    inner = share[1:-1].mean()
    hint = "every start from 0 to N - T must be equally likely"
    if share[0] < 0.75 * inner and share[-1] < 0.75 * inner:
        hint = "rounding to the nearest gives both ends only half a share; draw whole numbers, or round down"
    elif share[0] > 1.5 * inner or share[-1] > 1.5 * inner:
        hint = "starts out of range were moved to the end, which so is drawn too often; draw from the right range"
    even = bool(((share - 1 / (last + 1)).abs() < 0.03).all())
    require(even, f"each of 0..{last} in {1 / (last + 1):.0%} of the draws", found, hint, what)
    compare("starts where only one clip fits", call(answer, T, T, 5, torch.Generator().manual_seed(seed)), [0] * 5)


@exercise("1.4", "the copy-x_1 baseline")
def copy_first_psnr(answer: Any, g: torch.Generator) -> None:
    """frames (T, 3, H, W) in [0, 1] -> mean over frames 2..T of the PSNR in dB of x_1."""
    for T in (6, 9):
        step = torch.rand(T, 1, 1, 1, generator=g) * torch.rand(T, 3, 4, 7, generator=g)
        frames = (0.3 + 0.1 * step.cumsum(dim=0)).clamp(0, 1)  # (T, 3, H, W), further from x_1 all the time
        first = frames[0].double().numpy()
        decibels = [-10 * math.log10(np.mean((first - x.double().numpy()) ** 2)) for x in frames[1:]]
        expected = sum(decibels) / len(decibels)

        mse = (frames[0] - frames[1:]).square().mean(dim=(-3, -2, -1))  # (T-1,)
        previous = -10 * (frames[:-1] - frames[1:]).square().mean(dim=(-3, -2, -1)).log10()
        compare(
            f"mean PSNR in dB of copying x_1 over {T - 1} frames", call(answer, frames.clone()), expected,
            {
                "frame 1 is in the mean; it is given and equals itself (100 dB here): average over frames 2..T":
                    (sum(decibels) + CAP) / T,
                "frame 1 is in the mean, where the error is 0 and PSNR infinite: average over frames 2..T": math.inf,
                "the sum is over T-1 frames but divided by T": sum(decibels) / T,
                "this copies the last true frame, which no predictor has; copy x_1": previous.mean(),
                "this is the PSNR of the mean error; take the PSNR of each frame first, then the mean":
                    -10 * mse.mean().log10(),
                "still one value for each frame; take their mean": decibels,
                "still one value for each frame, and frame 1 is among them": [CAP, *decibels],
                "the first predicted frame is x_2, index 1; this starts one frame later":
                    sum(decibels[1:]) / len(decibels[1:]),
                "this is the last frame's PSNR, not the mean": decibels[-1],
                "this copies the last frame of the video; copy the first":
                    (-10 * (frames[-1] - frames[:-1]).square().mean(dim=(-3, -2, -1)).log10()).mean(),
            },
        )  # fmt: skip
