"""The warm-up of the first notebook."""

from typing import Any

import torch
from torch import Tensor

from labutils.checks.core import agree, exercise


def _predicted(video: Tensor) -> Tensor:
    return video[:, 1:]


@exercise("0.1", "the frames to predict", _predicted, {
    "x_1 is given, so it is not predicted: leave it out": lambda video: video,
    "this leaves out the first video of the batch; time is the second axis": lambda video: video[1:],
    "this leaves out the last frame; the first one is given": lambda video: video[:, :-1],
    "an index counts from 0, so x_2 has index 1": lambda video: video[:, 2:],
    "one index takes one frame; a slice a:b takes frames a to b-1 and keeps the axis": lambda video: video[:, 1],
    "the given frame x_1 is what to leave out, not what to keep": lambda video: video[:, :1],
})  # fmt: skip
def frames_to_predict(answer: Any, g: torch.Generator) -> None:
    """video (B, T, 3, H, W) -> x_2..x_T, (B, T-1, 3, H, W)."""
    for B, T in ((2, 5), (4, 7)):
        video = torch.rand(B, T, 3, 4, 6, generator=g)  # (B, T, 3, H, W)
        agree(f"frames to predict of a video {tuple(video.shape)}", answer, _predicted, video)
