"""What one training step sees: clips of the training video, or transitions from the model's own latest predictions.

``Clips`` is the assignment's protocol: clips of 16 frames, of which 15 are predicted one after the other.  ``Replay``
draws single transitions: clips of two frames, whose first one is replayed as the model last predicted it, so that
nothing is sequential.  A batch of either holds ``batch_size * (train_vi_len - 1)`` frames to predict.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from labutils.config import LabConfig
from labutils.distributed import Ranks
from labutils.images import Video, to_bytes, to_float


@dataclass(frozen=True)
class Batch:
    """This process's clips of one step, on its device.

    Attributes:
        frames, labels: (B, T, 3, H, W) in [0, 1]; frames 2..T are to be predicted.
        teacher: bool (B, T-1), on the CPU; True: the previous frame of ``frames`` is fed, False: the generated one.
        eps: standard normal noise of z, (B, T-1, N, h, w).
        shift: (B, 2), whole pixels (down, right) by which each scene was moved; None: none was.
        places: (B,), where the predicted frames of transitions stand in the training video.
    """

    frames: Tensor
    labels: Tensor
    teacher: Tensor
    eps: Tensor
    shift: Tensor | None = None
    places: Tensor | None = None


class Clips:
    """Clips of ``train_vi_len`` frames from random places of the training video.

    Every draw is seeded by the step alone: a resume needs no state of a generator, and N processes, each of which draws
    the whole global batch and keeps its share, see what one would.
    """

    def __init__(self, train: Video, cfg: LabConfig, latent_shape: tuple[int, int, int], ranks: Ranks):
        self.cfg, self.latent_shape, self.ranks = cfg, latent_shape, ranks
        self.frames, self.labels = (self._resident(a) for a in (train.frames, train.labels))  # uint8 (N, H, W, 3)

    def draw(self, step: int, count: int, tfr: float) -> Batch:
        """The batch of training step ``step``, from the first ``count`` frames.

        Args:
            tfr: the teacher-forcing ratio, the chance that the previous TRUE frame is fed.

        Raises:
            LabError: the batch cannot be divided among the processes.
        """
        B, T = self.cfg.batch_size, self.cfg.train_vi_len
        coins, noise = self._generators(step)
        start = torch.randint(0, count - T + 1, (B, 1), generator=coins)
        teacher = torch.rand(B, T - 1, generator=coins) < tfr
        eps = torch.randn(B, T - 1, *self.latent_shape, generator=noise, device=self.ranks.device)
        own = self.ranks.share(B)
        index = (start[own] + torch.arange(T)).T  # (T, B)
        frames, labels = (self._images(self._take(a, index)) for a in (self.frames, self.labels))
        return Batch(frames, labels, teacher[own], eps[own])

    def remember(self, batch: Batch, predictions: Tensor) -> None:
        """Keep what later batches need of the predictions (B, T-1, 3, H, W): nothing."""

    def replayed(self) -> np.ndarray | None:
        """The frames that are replayed, uint8 (N, H, W, 3), which a resume needs; None: there are none."""
        return None

    def replay(self, frames: np.ndarray) -> bool:
        """Replay these frames from now on; whether they are as many and as large as those of the training video."""
        return True

    def _generators(self, step: int) -> tuple[torch.Generator, torch.Generator]:
        """Fresh generators on the CPU and on the device."""
        seed = self.cfg.seed * 1_000_003 + step
        return torch.Generator().manual_seed(seed), torch.Generator(self.ranks.device).manual_seed(seed)

    def _resident(self, images: np.ndarray) -> Tensor:
        """uint8 images as a tensor on the device, or left memory-mapped where they would take much of its memory."""
        tensor, device = torch.from_numpy(images), self.ranks.device
        if device.type == "cuda" and images.nbytes < torch.cuda.mem_get_info(device)[0] / 8:
            return tensor.to(device)
        return tensor

    def _take(self, images: Tensor, index: Tensor) -> Tensor:
        """Some of the images, on the device, wherever they are kept."""
        return images[index.to(images.device)].to(self.ranks.device, non_blocking=True)

    def _images(self, pixels: Tensor) -> Tensor:
        """uint8 (T, B, H, W, 3) -> float (B, T, 3, H, W); in memory, time still comes first and channels last."""
        return to_float(pixels).transpose(0, 1)


class Replay(Clips):
    """Transitions (x_{t-1}, x_t, P_t) from random places, x_{t-1} true or as the model last predicted it.

    Every second scene, room and all, is moved sideways by up to ``cfg.shift`` pixels, up or down by a third of it: so
    the figure is learned for places where nobody stood.  Predictions are moved back before they are remembered.
    """

    def __init__(self, train: Video, cfg: LabConfig, latent_shape: tuple[int, int, int], ranks: Ranks):
        super().__init__(train, cfg, latent_shape, ranks)
        self.predicted = self.frames.clone()  # each frame as it was last predicted; true where it never was

    def draw(self, step: int, count: int, tfr: float) -> Batch:
        """As ``Clips.draw``: a batch of clips of two frames, whose first one is always fed."""
        B = self.cfg.batch_size * (self.cfg.train_vi_len - 1)
        coins, noise = self._generators(step)
        t = torch.randint(1, count, (B,), generator=coins)
        true = torch.rand(B, generator=coins) < tfr
        shift = self._shift(B, coins) if self.cfg.shift else None
        eps = torch.randn(B, 1, *self.latent_shape, generator=noise, device=self.ranks.device)
        own = self.ranks.share(B)
        t, true = t[own], true[own].to(self.ranks.device)
        index = torch.stack([t - 1, t])  # (2, B)
        images, poses = self._take(self.frames, index), self._take(self.labels, index)  # (2, B, H, W, 3)
        images[0] = torch.where(true[:, None, None, None], images[0], self._take(self.predicted, t - 1))
        if shift is not None:
            shift = shift[own].to(self.ranks.device)
            images, poses = moved(images, shift), moved(poses, shift)
        always = torch.ones(len(t), 1, dtype=torch.bool)
        return Batch(self._images(images), self._images(poses), always, eps[own], shift, t.to(self.ranks.device))

    def _shift(self, B: int, coins: torch.Generator) -> Tensor:
        reach = torch.tensor([self.cfg.shift // 3, self.cfg.shift])  # down, right
        shift = torch.rand(B, 2, generator=coins).mul(2 * reach + 1).long() - reach
        shift[::2] = 0
        return shift

    def remember(self, batch: Batch, predictions: Tensor) -> None:
        """Replay these predictions (B, 1, 3, H, W) of ``batch`` from now on."""
        frames = to_bytes(predictions[:, 0])  # (B, H, W, 3)
        if batch.shift is not None:
            frames = moved(frames, -batch.shift)
        assert batch.places is not None  # it was drawn here
        frames, places = self.ranks.gather(frames), self.ranks.gather(batch.places)
        self.predicted[places.to(self.predicted.device)] = frames.to(self.predicted.device)

    def replayed(self) -> np.ndarray | None:
        """As they were last predicted."""
        return self.predicted.cpu().numpy()

    def replay(self, frames: np.ndarray) -> bool:
        """As ``Clips.replay``."""
        if frames.dtype == np.uint8 and frames.shape == tuple(self.predicted.shape):
            self.predicted.copy_(torch.from_numpy(frames))
            return True
        return False


# ------------------------------------------------------------------------------------------------------ moved scenes


def moved(pictures: Tensor, shift: Tensor) -> Tensor:
    """Pictures (..., B, H, W, C), each moved by its whole pixels (down, right), (B, 2); edges are repeated."""
    B, H, W = pictures.shape[-4:-1]
    rows = torch.arange(H, device=shift.device) - shift[:, :1]  # (B, H): where the pixels come from
    columns = torch.arange(W, device=shift.device) - shift[:, 1:]  # (B, W)
    picture = torch.arange(B, device=shift.device)[:, None, None]
    return pictures[..., picture, rows.clamp(0, H - 1)[:, :, None], columns.clamp(0, W - 1)[:, None], :]


def moved_weights(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """The weights of a model that are a picture of the scene (3, H, W), moved as the batch's scenes are, (B, 3, H, W).

    Such is the background of the fast generator.  ``torch.func.functional_call`` puts them in place of the model's own
    for one step, so no module has to know of moved scenes.
    """
    if batch.shift is None:
        return {}
    size, B = batch.frames.shape[2:], len(batch.frames)
    pictures = {name: p for name, p in model.named_parameters() if p.shape == size}
    return {
        name: moved(p.movedim(0, -1).expand(B, *size[1:], size[0]), batch.shift).movedim(-1, 1)
        for name, p in pictures.items()
    }
