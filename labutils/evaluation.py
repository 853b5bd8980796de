"""How good is a prediction: PSNR and SSIM of long rollouts from the prior, always beside baselines.

Conventions: data range 1; PSNR of one frame from the MSE over all its pixels and channels; mean over frames 2..T, since
the first one is given; predictions are clipped to [0, 1].  A prediction is scored as it is handed in: rounded to uint8,
which limits PSNR at 59 dB and costs 0.01 dB at 32 dB.
"""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from labutils.baselines import Baselines
from labutils.errors import LabError
from labutils.images import Video, to_float, to_uint8
from labutils.metrics import psnr, ssim
from labutils.model import evaluating
from labutils.report import Report, SequenceReport

# -------------------------------------------------------------------------------------------------------- prediction


def predict(
    model: Any, videos: Sequence[Video], seed: int = 0, batch: int = 16, progress: bool = False
) -> list[np.ndarray]:
    """Predict videos from their first frames, their poses, and z drawn from the prior.

    Videos of equal length share one rollout.  Each has noise of its own, by ``seed`` and its name, drawn on the CPU:
    its prediction does not depend on which others are predicted with it, nor on the device.

    Args:
        model: a ``ConditionalVAE``; evaluated in eval mode, and left in the mode in which it came.
        batch: the most videos in one rollout.
        progress: show a progress bar over predicted frames.

    Returns:
        uint8 (T, H, W, 3) for each video, the given frame first.  ``LabError`` where a value is not finite.
    """
    return rollouts(model, videos, [(seed, video.name) for video in videos], batch, progress)


def prior_noise(model: Any, steps: int, seed: int, name: str) -> Tensor:
    """z_2..z_T of one video, (steps, N, h, w) from N(0, I), fixed by ``seed`` and ``name``."""
    source = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))  # torch heeds 32 bits of a seed
    return torch.randn(steps, *model.latent_shape, generator=source)


def rollouts(
    model: Any, videos: Sequence[Video], keys: Sequence[tuple[int, str]], batch: int = 16, progress: bool = False,
    std: float = 1.0,
) -> list[np.ndarray]:  # fmt: skip
    """One prediction for each video, as ``predict`` makes them.

    Args:
        keys: seed and name of each one's noise.
        std: factor on the noise of the prior.
    """
    if not videos:
        raise LabError("there are no videos to predict")
    size = (model.cfg.frame_H, model.cfg.frame_W, 3)
    groups: dict[int, list[int]] = {}  # length -> positions
    for k, video in enumerate(videos):
        if video.labels.shape[1:] != size or len(video.labels) < 2:
            raise LabError(f"{video.name}: labels are {video.labels.shape}; the model needs (T, *{size}) with T > 1")
        groups.setdefault(len(video.labels), []).append(k)
    chunks = [group[i : i + batch] for group in groups.values() for i in range(0, len(group), batch)]
    predictions: list[Any] = [None] * len(videos)
    steps = sum(len(videos[chunk[0]].labels) - 1 for chunk in chunks)
    with (
        evaluating(model) as device,
        tqdm(total=steps, desc="predict", unit="frame", disable=None if progress else True) as bar,
    ):
        for chunk in chunks:
            x1 = torch.stack([to_float(videos[k].frames[0]) for k in chunk])  # (B, 3, H, W)
            labels = torch.stack([to_float(videos[k].labels) for k in chunk])  # (B, T, 3, H, W)
            eps = torch.stack([prior_noise(model, labels.shape[1] - 1, *keys[k]) for k in chunk])  # (B, T-1, N, h, w)
            frames = model.generate(x1.to(device), labels.to(device), progress=bar.update, eps=std * eps.to(device))
            for k, video in zip(chunk, frames, strict=True):  # (T, 3, H, W)
                finite = video.isfinite().flatten(1).all(dim=1).tolist()  # (T,)
                if not all(finite):
                    where = f"{videos[k].name}: frame {finite.index(False) + 1} of the prediction is not finite"
                    raise LabError(f"{where}; train the model again with a smaller --lr or --grad_clip")
                predictions[k] = to_uint8(video)
    return predictions


def evaluate(
    model: Any, videos: Sequence[Video], train: Video | None = None, seed: int = 0, batch: int = 16,
    progress: bool = False,
) -> Report:  # fmt: skip
    """Predict videos as ``predict`` does, score those whose true frames are known, beside the ``Baselines``."""
    report, rivals = Report([]), Baselines(train)
    for video, prediction in zip(videos, predict(model, videos, seed, batch, progress), strict=True):
        sequence = SequenceReport(video.name, prediction)
        if video.has_truth:
            sequence.psnr = psnr(prediction[1:], video.frames[1:])
            sequence.ssim = ssim(prediction[1:], video.frames[1:])
            sequence.baselines = rivals.scores(video)
        report.sequences.append(sequence)
    return report
