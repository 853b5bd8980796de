"""How good is a prediction, and what is in a latent: measures of arrays.

Conventions of the lab: data range 1; the PSNR of a frame is taken over all its pixels and channels, and averaged over
frames 2..T, since the first one is given; predictions are clipped to [0, 1].
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from labutils.errors import LabError
from labutils.images import Video

CAP = 100.0  # dB, the PSNR of two identical frames, which would be infinite
GRADES = ((25, 100), (24, 90), (23, 80), (22, 70), (21, 60), (20, 50))  # at least so many dB: per cent of the points
BASELINES = {  # predictors without a model, and what they are called everywhere
    "copy_first": "copy of the first frame",
    "mean_frame": "mean training frame",
    "copy_previous": "copy of the previous true frame (unfair)",
}


# ---------------------------------------------------------------------------------------------------------- measures


def psnr(pred: Any, target: Any) -> Any:
    """Peak signal-to-noise ratio of each frame in dB, 10 log10(1 / MSE), at most 100 (identical frames).

    Args:
        pred, target: both float tensors (..., 3, H, W) with range 1 (``pred`` is clipped to [0, 1]), or both uint8
            arrays (..., H, W, 3).

    Returns:
        Tensor or float64 array (...,).

    Raises:
        LabError: anything else is given, or a value is not finite.
    """
    _check_pair(pred, target)
    if isinstance(pred, np.ndarray):
        difference = pred.astype(np.int32) - target  # (..., H, W, 3)
        mse = np.mean(difference * difference, axis=(-3, -2, -1), dtype=np.float64) / 255**2
        return -10 * np.log10(np.maximum(mse, 10 ** (-CAP / 10)))
    mse = (pred.clamp(0, 1) - target).square().mean(dim=(-3, -2, -1))  # (...,)
    if not bool(mse.isfinite().all()):
        raise LabError("psnr: the frames hold values that are not finite (NaN or infinity)")
    return -10 * mse.clamp_min(10 ** (-CAP / 10)).log10()


def ssim(pred: Any, target: Any) -> np.ndarray:
    """Structural similarity of each frame (scikit-image: 7x7 uniform window, mean over channels), float64 (...,).

    Wang et al., "Image quality assessment: from error visibility to structural similarity" (IEEE TIP 2004).  Arguments
    and errors are those of ``psnr``; frames smaller than 7x7 are refused too.
    """
    from skimage.metrics import structural_similarity

    _check_pair(pred, target)
    if not isinstance(pred, np.ndarray):
        pred, target = (x.detach().cpu().clamp(0, 1).movedim(-3, -1).numpy() for x in (pred, target))  # (..., H, W, 3)
    *batch, H, W, _ = pred.shape
    if min(H, W) < 7 or not np.isfinite(pred.sum() + target.sum()):
        raise LabError(f"ssim: frames are {H}x{W} pixels; it needs at least 7x7, and finite values")
    data_range = 255 if pred.dtype == np.uint8 else 1
    pairs = zip(pred.reshape(-1, H, W, 3), target.reshape(-1, H, W, 3), strict=True)
    values = [structural_similarity(a, b, channel_axis=-1, data_range=data_range) for a, b in pairs]
    return np.array(values, dtype=np.float64).reshape(batch)


def _check_pair(pred: Any, target: Any) -> None:
    arrays = all(isinstance(x, np.ndarray) and x.dtype == np.uint8 for x in (pred, target))
    tensors = not arrays and all(_is_float_tensor(x) for x in (pred, target))
    fit = (tensors or arrays) and pred.shape == target.shape and pred.ndim >= 3
    if not fit or pred.shape[-3 if tensors else -1] != 3:
        found = [f"{type(x).__name__} {getattr(x, 'dtype', '')} {tuple(np.shape(x))}" for x in (pred, target)]
        wanted = "two float tensors (..., 3, H, W) or two uint8 arrays (..., H, W, 3), of one shape"
        raise LabError(f"prediction and target are {found[0]} and {found[1]}; give {wanted}")


def _is_float_tensor(x: Any) -> bool:
    from torch import Tensor  # here: the processes that render a dance do without it

    return isinstance(x, Tensor) and x.is_floating_point()


def grade(average: float) -> int:
    """Per cent of the points for prediction quality that an average test PSNR in dB earns in the assignment.

    Raises:
        LabError: the average is not finite.
    """
    if not math.isfinite(average):
        raise LabError(f"grade: the average PSNR is {average}; it must be a number")
    return next((percent for limit, percent in GRADES if average >= limit), 0)


# --------------------------------------------------------------------------------------------------------- baselines


def mean_training_frame(train: Video) -> np.ndarray:
    """The mean of all training frames, uint8 (H, W, 3)."""
    return np.rint(train.frames.mean(axis=0)).astype(np.uint8)


def baselines(video: Video, mean_frame: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """PSNR in dB of frames 2..T for predictors that need no model, each float64 (T-1,); keys as in ``BASELINES``.

    ``copy_first`` shows x_1 throughout; ``mean_frame`` the mean training frame (left out where it is None);
    ``copy_previous`` the previous TRUE frame: no predictor has that, so it is a bound and not a rival.

    Args:
        mean_frame: (H, W, 3) on the scale 0..255, uint8 or float.

    Raises:
        LabError: not all true frames are known, or the mean frame is of another size.
    """
    need_truth(video)
    truth = video.frames[1:]  # (T-1, H, W, 3)
    result = {"copy_first": psnr(np.broadcast_to(video.frames[0], truth.shape), truth)}
    if mean_frame is not None:
        if mean_frame.shape != truth.shape[1:]:
            raise LabError(f"the mean frame is {mean_frame.shape}, the frames of {video.name} are {truth.shape[1:]}")
        mean_frame = np.rint(mean_frame).astype(np.uint8)
        result["mean_frame"] = psnr(np.broadcast_to(mean_frame, truth.shape), truth)
    return result | {"copy_previous": psnr(video.frames[:-1], truth)}


def shortfall(average: float, rivals: Mapping[str, float]) -> str:
    """What to say of a prediction that is worse than a baseline; empty where it is better than all of them.

    Args:
        average: mean PSNR of the prediction in dB.
        rivals: name -> mean PSNR of a baseline in dB.  ``copy_previous``, which sees the truth, is no rival.
    """
    above = {name: value for name, value in rivals.items() if value > average and name != "copy_previous"}
    if not above:
        return ""
    best = max(above, key=lambda name: above[name])
    return f"{average:.2f} dB is less than the baseline {BASELINES[best]!r} reaches, {above[best]:.2f} dB"


def need_truth(video: Video) -> None:
    """Nothing where all true frames of a video are known.

    Raises:
        LabError: they are not.
    """
    if not video.has_truth or len(video.frames) < 2:
        raise LabError(f"{video.name}: {len(video.frames)} of {len(video.labels)} true frames are known, not all")


# --------------------------------------------------------------------------------------------- what is in a latent


def principal_directions(mu: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Principal component analysis: the orthonormal directions along which the rows of ``mu`` vary most.

    Args:
        mu: (T, D).
        count: directions wanted; fewer where ``mu`` does not vary in so many.

    Returns:
        directions (K, D), the standard deviation along each (K,), and each one's share of the variance (K,).
    """
    centred = mu.astype(np.float64) - mu.mean(0, dtype=np.float64)  # (T, D)
    if mu.shape[1] <= len(mu):
        _, singular, rows = np.linalg.svd(centred, full_matrices=False)
    else:  # the smaller of the two products has the same singular values
        values, columns = np.linalg.eigh(centred @ centred.T)  # (T,), (T, T), rising
        singular = np.sqrt(np.maximum(values[::-1], 0))
        rows = (columns[:, ::-1].T @ centred) / np.maximum(singular, 1e-300)[:, None]
    total = float((singular**2).sum())
    rank = int((singular > 1e-6 * max(singular[0], 1e-30)).sum()) if total > 0 else 1
    keep = min(count, rank)
    directions = rows[:keep]
    # A direction's sign is arbitrary: let its largest entry be positive.
    signs = np.sign(directions[np.arange(keep), np.abs(directions).argmax(1)])
    directions = directions * np.where(signs == 0, 1, signs)[:, None]
    return directions, singular[:keep] / math.sqrt(len(mu)), singular[:keep] ** 2 / (total or 1.0)


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's correlation of two series (T,); 0 where one of them does not vary."""
    x, y = x - x.mean(), y - y.mean()
    norm = math.sqrt(float((x**2).sum() * (y**2).sum()))
    return float((x * y).sum() / norm) if norm > 0 else 0.0


def held_out_fit(scores: np.ndarray, target: np.ndarray, folds: int = 5) -> tuple[np.ndarray, float]:
    """The best linear combination of ``scores``, judged on frames it was not fitted to.

    The video is cut into ``folds`` pieces; each is predicted by least squares from all the others.  (Neighbouring
    frames resemble each other, so pieces are held out, not single frames.)

    Args:
        scores: (T, K).
        target: (T,).

    Returns:
        the held-out predictions (T,), and R^2 = 1 - sum (target - prediction)^2 / sum (target - mean of the rest)^2,
        which is at most 1 and below 0 where the mean would have been better.
    """
    design = np.column_stack([np.ones(len(target)), scores])  # (T, 1 + K)
    prediction, mean = np.empty(len(target)), np.empty(len(target))
    for piece in np.array_split(np.arange(len(target)), folds):
        rest = np.setdiff1d(np.arange(len(target)), piece)
        weights = np.linalg.lstsq(design[rest], target[rest], rcond=None)[0]
        prediction[piece], mean[piece] = design[piece] @ weights, target[rest].mean()
    spread = float(((target - mean) ** 2).sum())
    return prediction, 1 - float(((target - prediction) ** 2).sum()) / spread if spread > 0 else 0.0
