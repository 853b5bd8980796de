"""What pictures tell: a data set's, and those of a submission."""

from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from labutils.baselines import Baselines, shortfall
from labutils.doctor.findings import Case, look
from labutils.images import Video
from labutils.metrics import psnr
from labutils.submission import read_rows

SHIFTS = range(-5, 6)  # that are compared; one of up to 4 frames can be told
FEW = 200  # frames, below which a walk may look like another moment of itself by chance


def read_values(path: Path, height: int = 32, width: int = 64) -> np.ndarray:
    """The values of a submission as they stand there, float32 (N, H, W, 3).

    Raises:
        LabError: it is none of this frame size.
    """
    table = read_rows(path, height, width, np.float32)
    return np.moveaxis(table[:, 1:].reshape(-1, 3, height, width), 1, -1)


def _pixels(case: Case) -> np.ndarray:
    """The submission as uint8, whatever its range."""
    assert case.predictions is not None
    values = np.nan_to_num(case.predictions)
    return np.rint((values * 255 if values.max() <= 1 else values).clip(0, 255)).astype(np.uint8)


def _parts(case: Case) -> list[tuple[Video, np.ndarray]]:
    """Each test video and what was predicted for it; [] where the numbers of frames differ."""
    pixels, videos = _pixels(case), case.test or []
    if sum(len(video.labels) for video in videos) != len(pixels) or pixels.shape[1:] != videos[0].labels.shape[1:]:
        return []
    ends = np.cumsum([len(video.labels) for video in videos])
    return list(zip(videos, np.split(pixels, ends[:-1]), strict=True))


def _motion(images: np.ndarray) -> np.ndarray:
    """Where something moves between neighbouring images, blurred: float32 (T-1, D), centred in each."""
    grey = images.astype(np.float32).mean(-1)  # (T, H, W)
    moved = gaussian_filter(np.abs(np.diff(grey, axis=0)), (0, 2, 2))[:, ::2, ::2].reshape(len(grey) - 1, -1)
    return moved - moved.mean(1, keepdims=True)


def shifted(frames: np.ndarray, labels: np.ndarray) -> str:
    """What to say where the frames move with the poses of other frames; "" where they move with their own.

    For each shift, the correlation over pixels and time of where frames and where poses move.  A shift shows as a peak
    beside 0; a correlation that goes on rising tells nothing.
    """
    n = len(frames)
    if n < 12:
        return ""
    x, p = _motion(frames), _motion(labels)
    scores = {}
    for s in SHIFTS:
        a, b = x[max(0, -s) : n - 1 - max(0, s)], p[max(0, s) : n - 1 + min(0, s)]
        scores[s] = float((a * b).sum() / max(float(np.sqrt((a**2).sum() * (b**2).sum())), 1e-9))
    best = max(scores, key=lambda s: scores[s])
    clear = 1.3 if n < FEW else 1.01
    if best in (0, SHIFTS[0], SHIFTS[-1]) or scores[best] < 0.15 or scores[best] < clear * max(scores[0], 0):
        return ""
    return (
        f"where frame t moves correlates with where pose t moves by {scores[0]:.2f}, with pose t{best:+d} by "
        f"{scores[best]:.2f}"
    )


@look("pairing", "train")
def data_shifted(case: Case) -> str:
    """Of the data set."""
    found = [(video.name, shifted(video.frames[:600], video.labels[:600])) for video in (case.train, case.val) if video]
    return "; ".join(f"{name}: {text}" for name, text in found if text)


@look("pairing", "predictions", "test")
def submission_shifted(case: Case) -> str:
    """Of a submission and the test's poses: by a few frames, or sequence by sequence."""
    parts = _parts(case)
    if not parts:
        frames = sum(len(video.labels) for video in case.test or [])
        return f"the submission holds {len(_pixels(case))} frames, the test's poses are {frames}"
    found = [f"sequence {video.name}: {text}" for video, pixels in parts if (text := shifted(pixels, video.labels))]
    for video, pixels in parts:
        far = [np.abs(pixels[0].astype(int) - other.frames[0]).mean() for other, _ in parts]
        nearest = parts[int(np.argmin(far))][0].name
        if nearest != video.name and min(far) < 0.5 * far[[other.name for other, _ in parts].index(video.name)]:
            found.append(f"what stands as sequence {video.name} begins like sequence {nearest}")
    return "; ".join(found)


@look("beyond-range", "predictions")
def wrong_range(case: Case) -> str:
    """Values that are no grey levels."""
    values = case.predictions
    assert values is not None
    if not np.isfinite(values).all():
        return f"{(~np.isfinite(values)).mean():.2%} of the submission's values are not finite"
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 255:
        return f"the submission's values lie from {low:g} to {high:g}, not in 0..255"
    return f"the submission's values lie from {low:g} to {high:g}: fractions, not 0..255" if high <= 1 else ""


@look("bgr", "predictions", "test")
def exchanged(case: Case) -> str:
    """Predictions are nearer to the given first frames with red and blue exchanged."""
    parts = _parts(case)
    if not parts:
        return ""
    straight = float(np.mean([psnr(p, np.broadcast_to(v.frames[0], p.shape)).mean() for v, p in parts]))
    other = float(np.mean([psnr(p[..., ::-1], np.broadcast_to(v.frames[0], p.shape)).mean() for v, p in parts]))
    if other - straight < 1:
        return ""
    return (
        f"the given first frames resemble the predictions by {straight:.1f} dB, with red and blue exchanged {other:.1f}"
    )


@look("below-baseline", "predictions", "test")
def submission_below(case: Case) -> str:
    """Scores of a submission whose true frames are known, against the baselines."""
    known = [(video, pixels) for video, pixels in _parts(case) if video.has_truth]
    if not known:
        return ""
    rivals = Baselines(case.train)
    average = float(np.mean([psnr(pixels[1:], video.frames[1:]).mean() for video, pixels in known]))
    scores = [rivals.scores(video) for video, _ in known]
    return shortfall(average, {name: float(np.mean([s[name].mean() for s in scores])) for name in scores[0]})
