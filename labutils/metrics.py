"""How good is a prediction: measures of arrays.

Conventions of the lab: data range 1; the PSNR of a frame is taken over all its pixels and channels, and averaged over
frames 2..T, since the first one is given; predictions are clipped to [0, 1].
"""

import math
from typing import Any

import numpy as np

from labutils.errors import LabError
from labutils.images import Video

CAP = 100.0  # dB, the PSNR of two identical frames, which would be infinite
GRADES = ((25, 100), (24, 90), (23, 80), (22, 70), (21, 60), (20, 50))  # at least so many dB: per cent of the points


# ---------------------------------------------------------------------------------------------------------- measures


def psnr(pred: Any, target: Any) -> Any:
    """Peak signal-to-noise ratio of each frame in dB, 10 log10(1 / MSE), at most 100 (identical frames).

    Args:
        pred, target: both float tensors (..., 3, H, W) with range 1 (``pred`` is clipped to [0, 1]), or both uint8
            arrays (..., H, W, 3).

    Returns:
        Tensor or float64 array (...,).

    Raises:
        LabError: anything else is given, a value is not finite, or one of ``target`` is not in [0, 1].
    """
    _check_pair(pred, target)
    if isinstance(pred, np.ndarray):
        difference = pred.astype(np.int32) - target  # (..., H, W, 3)
        mse = np.mean(difference * difference, axis=(-3, -2, -1), dtype=np.float64) / 255**2
        return -10 * np.log10(np.maximum(mse, 10 ** (-CAP / 10)))
    mse = (pred.clamp(0, 1) - target).square().mean(dim=(-3, -2, -1))  # (...,)
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
    if min(H, W) < 7:
        raise LabError(f"ssim: frames are {H}x{W} pixels; it needs at least 7x7")
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
    if tensors and pred.numel():
        if not bool((pred.isfinite() & target.isfinite()).all()):
            raise LabError("prediction or target hold values that are not finite (NaN or infinity)")
        low, high = target.aminmax()
        if low < -0.01 or high > 1.01:
            raise LabError(f"the target holds values from {low:g} to {high:g}; they must lie in [0, 1]")


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


def need_truth(video: Video) -> None:
    """Nothing where all true frames of a video are known.

    Raises:
        LabError: they are not.
    """
    if not video.has_truth or len(video.frames) < 2:
        raise LabError(f"{video.name}: {len(video.frames)} of {len(video.labels)} true frames are known, not all")
