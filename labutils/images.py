"""Images as arrays and as tensors, and a stretch of video.

On disk and in caches an image is uint8 (H, W, 3), in the model float (3, H, W) in [0, 1]; the functions here turn one
into the other.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from labutils.errors import LabError

if TYPE_CHECKING:  # imported where it is needed: the processes that render a dance do without it
    from torch import Tensor


@dataclass(frozen=True)
class Video:
    """One stretch of video and its pose images.

    Attributes:
        name: "train", "val" or the name of a test sequence.
        frames: uint8 (N, H, W, 3).  All T frames where they are known, else only the given first one (N = 1).
        labels: uint8 (T, H, W, 3), one pose image for each frame.

    Raises:
        LabError: frames and labels differ in size or number.
    """

    name: str
    frames: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        n, t = len(self.frames), len(self.labels)
        if self.frames.shape[1:] != self.labels.shape[1:]:
            raise LabError(f"{self.name}: frames are {self.frames.shape[1:]}, labels {self.labels.shape[1:]} (H, W, 3)")
        if n not in (1, t):
            raise LabError(f"{self.name}: {n} frames but {t} labels; there must be one label for each frame")

    @property
    def has_truth(self) -> bool:
        """Whether all frames are known, so that a prediction can be scored."""
        return len(self.frames) == len(self.labels)

    def part(self, start: int, stop: int | None) -> "Video":
        """The frames and labels start..stop-1."""
        return Video(self.name, self.frames[start:stop], self.labels[start:stop])


def to_float(images: "np.ndarray | Tensor") -> "Tensor":
    """uint8 (..., H, W, 3) -> float32 (..., 3, H, W) in [0, 1], as torchvision's ToTensor does it.

    A tensor stays on its device, and its memory stays channels-last.
    """
    import torch

    if isinstance(images, np.ndarray):
        images = torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, -3)))
    else:
        images = images.movedim(-1, -3)
    return images.float().div_(255)


def to_bytes(images: "Tensor") -> "Tensor":
    """float (..., 3, H, W) -> uint8 (..., H, W, 3) on the same device: clipped to [0, 1] and rounded to nearest."""
    return images.detach().clamp(0, 1).mul(255).round_().byte().movedim(-3, -1)


def to_uint8(images: "Tensor") -> np.ndarray:
    """As ``to_bytes``, as an array: float (..., 3, H, W) -> uint8 (..., H, W, 3)."""
    return to_bytes(images).cpu().numpy()
