"""The exercises on data: from images to tensors, PSNR, random clips, a baseline, and a data set of clips."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from labutils.checks.core import Answer, agree, call, compare, exercise, require

CAP = 100.0  # dB of two identical frames, as in labutils.metrics.psnr


def _tensors(images: np.ndarray) -> Tensor:
    """uint8 (N, H, W, 3) -> float32 (N, 3, H, W)."""
    return torch.from_numpy(images).permute(0, 3, 1, 2) / 255


@exercise("1.1", "images to tensors", _tensors, {
    "the values are still 0..255; divide by 255": lambda x: 255 * _tensors(x),
    "the axes are still (N, H, W, 3); channels come before height and width": lambda x: torch.from_numpy(x) / 255,
    "neither scaled nor permuted yet: axes (N, 3, H, W), values in [0, 1]": torch.from_numpy,
    "a reshape keeps the order in memory and so mixes colours and places; permute moves the axes":
        lambda x: torch.from_numpy(x).reshape(_tensors(x).shape) / 255,
    "height and width are swapped: the axes 0, 1, 2, 3 become 0, 3, 1, 2": lambda x: _tensors(x).mT,
    "white is 255, not 256": lambda x: _tensors(x) * 255 / 256,
    "whole numbers were divided as whole numbers; convert to float first": lambda x: _tensors(x).floor(),
    "the range is [0, 1] here, not [-1, 1]": lambda x: 2 * _tensors(x) - 1,
    "red and blue are swapped": lambda x: _tensors(x).flip(1),
    "the weights of a model are float32; dividing a uint8 array by 255 gives float64": lambda x: _tensors(x).double(),
})  # fmt: skip
def images_to_tensors(answer: Any, g: torch.Generator) -> None:
    """uint8 array (N, H, W, 3) -> float32 tensor (N, 3, H, W) in [0, 1]."""
    for N, H, W in ((5, 4, 6), (2, 8, 3)):
        images = torch.randint(0, 256, (N, H, W, 3), generator=g, dtype=torch.uint8).numpy()
        images[0, 0, 0] = (0, 128, 255)  # both ends of the range
        agree(f"tensor of images {images.shape}", answer, _tensors, images)


FRAME = (-3, -2, -1)  # the axes of one


def _mse(pred: Tensor, target: Tensor, over: tuple[int, ...] | None = FRAME) -> Tensor:
    return (pred.clamp(0, 1) - target).square().mean(over)


def _psnr(pred: Tensor, target: Tensor, over: tuple[int, ...] | None = FRAME) -> Tensor:
    return -10 * _mse(pred, target, over).log10()


@exercise("1.2", "PSNR per frame", _psnr, {
    "the prediction is not clipped to [0, 1] before the comparison":
        lambda p, x: -10 * (p - x).square().mean(FRAME).log10(),
    "average over the last three axes only, one value for each frame": dict(over=None),
    "this averages over the batch too, and in dB; keep one value for each frame": lambda p, x: _psnr(p, x).mean(),
    "this is one value for each channel; the MSE of a frame is over its channels too": dict(over=(-2, -1)),
    "this averages the PSNR of the three channels; average the squared error first":
        lambda p, x: _psnr(p, x, (-2, -1)).mean(-1),
    "this averages over the batch axes and keeps the pixels; average over the last three axes": dict(over=(0, 1)),
    "the batch may have any number of axes: count from the last one, dim=(-3, -2, -1)": dict(over=(2, 3, 4)),
    "the squared errors are summed; MSE is their mean":
        lambda p, x: -10 * (p.clamp(0, 1) - x).square().sum(FRAME).log10(),
    "the logarithm is to base 10, not natural": lambda p, x: -10 * _mse(p, x).log(),
    "the logarithm is to base 10, not 2": lambda p, x: -10 * _mse(p, x).log2(),
    "the factor is 10 for a squared error; 20 belongs to its root": lambda p, x: 2 * _psnr(p, x),
    "the squared error has its factor 10 already; do not take the root as well": lambda p, x: _psnr(p, x) / 2,
    "the data range is 1 here, not 255": lambda p, x: 10 * (255**2 / _mse(p, x)).log10(),
    "a smaller error must give a larger PSNR: 1 / MSE, or a minus": lambda p, x: -_psnr(p, x),
    "the error is squared, not absolute": lambda p, x: -10 * (p.clamp(0, 1) - x).abs().mean(FRAME).log10(),
    "this is the MSE; PSNR is 10 log10(1 / MSE)": _mse,
})  # fmt: skip
def psnr_per_frame(answer: Any, g: torch.Generator) -> None:
    """pred and target (..., 3, H, W), target in [0, 1] -> PSNR in dB of each frame, (...,)."""
    for batch in ((2, 4), ()):
        target = torch.rand(*batch, 3, 5, 7, generator=g)  # (..., 3, H, W)
        noise = torch.randn(*batch, 3, 5, 7, generator=g)
        size = 0.05 + 0.3 * torch.rand(*batch, 1, 1, 1, generator=g)  # another error in each frame
        pred = target + size * noise  # leaves [0, 1] here and there
        agree(f"PSNR in dB of frames {tuple(pred.shape)}", answer, _psnr, pred, target)


def _starts(N: int, T: int, count: int, generator: torch.Generator, low: int = 0, high: int = 1) -> Tensor:
    return torch.randint(low, N - T + high, (count,), generator=generator)


def _spread(place: Answer) -> Answer:
    """An answer to 1.3: numbers that are even in [0, 1), to whole ones."""
    return lambda N, T, count, generator: place(torch.rand(count, generator=generator), N, T)


@exercise("1.3", "random clips", _starts, {
    "torch.randint draws whole numbers": _spread(lambda u, N, T: u * (N - T + 1)),
    "one start for each clip; places are drawn with replacement, so count may be larger than their number":
        lambda N, T, count, generator: torch.randperm(N - T + 1, generator=generator)[:count],
    "draw from the generator that is given: generator=generator":
        lambda N, T, count, generator: _starts(N, T, count, torch.default_generator),
    "a clip from 6 on needs frame 9, but the last index is 8; the last start is N - T": dict(high=2),
    "a negative start counts from the end": dict(low=-1),
    "these are fixed windows, multiples of the clip length; every place must be possible":
        _spread(lambda u, N, T: (u * (N // T)).long() * T),
    "torch.randint leaves out its upper end, so the last place 5 is never drawn: N - T + 1 places": dict(high=0),
    "indices count from 0; the first clip is never drawn": dict(low=1),
    "rounding to the nearest gives both ends only half a share; draw whole numbers, or round down":
        _spread(lambda u, N, T: (u * (N - T)).round().long()),
    "starts out of range were moved to the end, which so is drawn too often; draw from the right range":
        _spread(lambda u, N, T: (u * N).long().clamp(max=N - T)),
    "every start from 0 to N - T must be equally likely":
        _spread(lambda u, N, T: (u * (N - T)).long() + (u * (N - T) >= 2)),  # all but place 2
})  # fmt: skip
def random_starts(answer: Any, g: torch.Generator) -> None:
    """(num_frames, clip_len, count, generator) -> first frames of random clips, integers (count,)."""
    N, T, count = 9, 4, 6000  # 6 places; a share's std is 0.5 %
    last, seed = N - T, int(torch.randint(2**31, (), generator=g))
    starts, again = (call(answer, N, T, count, torch.Generator().manual_seed(seed)) for _ in range(2))
    what = f"starts of {count} clips of {T} in {N} frames"

    def must(condition: Any, expected: str, got: str) -> None:
        require(condition, expected, got, what=what)

    kind = str(starts.dtype) if isinstance(starts, Tensor) else type(starts).__name__
    must(isinstance(starts, Tensor) and not starts.is_floating_point(), "a tensor of whole numbers", kind)
    must(starts.shape == (count,), f"shape ({count},)", f"shape {tuple(starts.shape)}")
    must(torch.equal(starts, again), "the same starts from generators of the same seed", "other starts")
    low, high = int(starts.min()), int(starts.max())
    must(high <= last, f"no start after {last}", f"from {low} to {high}")
    must(low >= 0, "no start before 0", f"from {low} to {high}")
    must((starts % T).any(), f"from 0 to {last}", f"only multiples of {T}")
    must(high != last - 1, f"from 0 to {last}, which is among them", f"from {low} to {high}")
    must(low != 1, f"from 0, which is among them, to {last}", f"from {low} to {high}")
    share = torch.bincount(starts, minlength=N)[: last + 1] / count  # (places,)
    found = ", ".join(f"{p:.0%}" for p in share.tolist())
    even = bool(((share - 1 / (last + 1)).abs() < 0.03).all())
    ends = share[[0, -1]] / share[1:-1].mean()
    must(even or ends.max() > 0.75, "the ends as often as the other places", found)
    must(even or ends.max() < 1.5, "the ends no more often than the other places", found)
    must(even, f"each of 0..{last} in {1 / (last + 1):.0%} of the draws", found)
    compare("starts where only one clip fits", call(answer, T, T, 5, torch.Generator().manual_seed(seed)), [0] * 5)


def _copy_first(frames: Tensor) -> Tensor:
    return _psnr(frames[0], frames[1:]).mean()


@exercise("1.4", "the copy-x_1 baseline", _copy_first, {
    "frame 1 is in the mean; it is given and equals itself (100 dB here): average over frames 2..T":
        lambda x: _psnr(x[0], x).clamp(max=CAP).mean(),
    "frame 1 is in the mean, where the error is 0 and PSNR infinite: average over frames 2..T":
        lambda x: _psnr(x[0], x).mean(),
    "the sum is over T-1 frames but divided by T": lambda x: _psnr(x[0], x[1:]).sum() / len(x),
    "this copies the previous true frame, which no predictor has; copy x_1": lambda x: _psnr(x[:-1], x[1:]).mean(),
    "the error is squared, not absolute": lambda x: -10 * (x[0] - x[1:]).abs().mean(FRAME).log10().mean(),
    "this is the PSNR of the mean error; take the PSNR of each frame first, then the mean":
        lambda x: _psnr(x[0], x[1:], None),
    "still one value for each frame; take their mean": lambda x: _psnr(x[0], x[1:]),
    "still one value for each frame, and frame 1 is among them": lambda x: _psnr(x[0], x).clamp(max=CAP),
    "the first predicted frame is x_2, index 1; this starts one frame later": lambda x: _psnr(x[0], x[2:]).mean(),
    "this is the last frame's PSNR, not the mean": lambda x: _psnr(x[0], x[-1]),
    "this copies the last frame of the video; copy the first": lambda x: _psnr(x[-1], x[:-1]).mean(),
})  # fmt: skip
def copy_first_psnr(answer: Any, g: torch.Generator) -> None:
    """frames (T, 3, H, W) in [0, 1] -> mean over frames 2..T of the PSNR in dB of x_1."""
    for T in (6, 9):
        step = torch.rand(T, 1, 1, 1, generator=g) * torch.rand(T, 3, 4, 7, generator=g)
        frames = (0.3 + 0.1 * step.cumsum(dim=0)).clamp(0, 1)  # (T, 3, H, W), further from x_1 all the time
        agree(f"mean PSNR in dB of copying x_1 over {T - 1} frames", answer, _copy_first, frames)


class _Clips(Dataset[tuple[Tensor, Tensor]]):
    """Which clips there are, and what one is: with room for mistakes."""

    def __init__(
        self, frames: np.ndarray, labels: np.ndarray, clip_len: int, more: int = 1, step: int = 1, late: int = 0,
        longer: int = 0, to: Answer = lambda a: _tensors(a), pair: Answer = lambda f, p: (f, p),
    ):  # fmt: skip
        self.frames, self.labels, self.T, self.more, self.step = frames, labels, clip_len, more, step
        self.late, self.longer, self.to, self.pair = late, longer, to, pair

    def __len__(self) -> int:
        return (len(self.frames) - self.T) // self.step + self.more

    def __getitem__(self, start: int) -> tuple[Tensor, Tensor]:
        clip = slice(self.step * start, self.step * start + self.T + self.longer)
        poses = slice(clip.start + self.late, clip.stop + self.late)
        frames, labels = self.pair(self.to(self.frames[clip]), self.to(self.labels[poses]))
        return frames, labels


@exercise("1.5", "clips as a data set", _Clips, {
    "N frames hold N - clip_len + 1 clips: the last one is missing": dict(more=0),
    "N frames hold N - clip_len + 1 clips, for the first T - 1 frames begin clips too": dict(more=2),
    "a clip may begin at every frame; these do not overlap": dict(step=4),
    "a clip holds clip_len frames, not one more": dict(longer=1),
    "a clip holds clip_len frames, not one less": dict(longer=-1),
    "frame t belongs to label t; here the labels are one later": dict(late=1),
    "labels and frames are swapped: (frames, labels)": dict(pair=lambda f, p: (p, f)),
    "the labels are missing: both are the frames": dict(pair=lambda f, p: (f, f)),
    "divide by 255: the model wants values in [0, 1]": dict(to=lambda a: 255 * _tensors(a)),
    "channels come first: (clip_len, 3, H, W)": dict(to=lambda a: torch.from_numpy(a).float() / 255),
})  # fmt: skip
def ClipDataset(answer: Any, g: torch.Generator) -> None:
    """ClipDataset(frames, labels, clip_len)[start] -> frames, labels, (clip_len, 3, H, W) each in [0, 1]."""
    N, T, H, W = 11, 4, 6, 8
    frames, labels = torch.randint(0, 256, (2, N, H, W, 3), generator=g, dtype=torch.uint8).numpy()

    def length(make: Answer) -> Answer:
        return lambda frames, labels, clip_len: len(make(frames, labels, clip_len))

    for n in (N, T):
        agree(f"number of clips of {T} in {n} frames", length(answer), length(_Clips), frames[:n], labels[:n], T)
    kind = call(answer, frames, labels, T)
    require(isinstance(kind, Dataset), "a torch.utils.data.Dataset", type(kind).__name__, "class ClipDataset(Dataset)")

    def item(make: Answer) -> Answer:
        return lambda frames, labels, clip_len, start: make(frames, labels, clip_len)[start]

    for start in (0, 3, N - T):
        parts = ("frames", "labels")
        agree(f"of the clip at {start}", item(answer), item(_Clips), frames, labels, T, start, parts=parts)
