"""The way of training of the course's starter code, as the yardstick of the benchmark: written from its facts.

What makes it slow is kept: both images of a frame are decoded and resized at every access, clips are fixed windows in
batches of 2, every encoder sees one frame at a time (a true frame that is fed on is encoded twice), and step t waits
for step t-1.  Nothing detaches a generated frame that is fed on.

    loss = sum over t of MSE(x̂_t, x_t) + beta * KL_t / batch size,   KL_t summed over batch and latent

Divided by the T-1 predicted frames that is the loss of ``training.Objective`` under ``same_mathematics``; Adam does not
notice a constant factor.  One point needs care: the starter code's BatchNorm takes its statistics from one frame of
each clip, an encoder that sees all frames at once would take them from all.  ``FrameByFrame`` keeps them apart.
"""

import math
import random
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from labutils.config import LabConfig
from labutils.errors import LabError
from labutils.images import to_float
from labutils.model import ConditionalVAE
from labutils.modules import kl_divergence
from labutils.pictures import find_images, read_image
from labutils.schedules import KLAnnealing, TeacherForcing


class FixedClips(Dataset):
    """Clip k is frames kT..kT+T-1 of the training video; what is left over at the end is never seen."""

    def __init__(self, cfg: LabConfig):
        self.T, self.size = cfg.train_vi_len, (cfg.frame_H, cfg.frame_W)
        train = Path(cfg.DR) / "train"
        self.folders = [find_images(train / f"train_{kind}") for kind in ("img", "label")]
        if len(self) < cfg.batch_size:
            raise LabError(f"{train} holds {len(self)} clips of {self.T} frames; a batch needs {cfg.batch_size}")

    def __len__(self) -> int:
        return len(self.folders[0]) // self.T

    def __getitem__(self, k: int) -> list[Tensor]:
        """Frames and labels of a clip, float (T, 3, H, W) each, decoded and resized now."""
        clip = slice(k * self.T, (k + 1) * self.T)
        return [torch.stack([to_float(read_image(path, *self.size)[0]) for path in f[clip]]) for f in self.folders]


def training_step(
    model: ConditionalVAE, optimizer: torch.optim.Optimizer, frames: Tensor, labels: Tensor, forced: bool, beta: float,
    eps: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """One optimizer step on a batch of clips, frame after frame.

    Args:
        frames, labels: (B, T, 3, H, W).
        forced: feed the previous TRUE frame throughout; else the generated one, from the second prediction on.
        eps: standard normal noise of z, (B, T-1, N, h, w); drawn if it is not given.

    Returns:
        (loss, mse, kl), each summed over the T-1 predictions; kl in nats, averaged over the batch.
    """
    last = frames[:, 0]  # (B, 3, H, W)
    mse, kl = frames.new_zeros(()), frames.new_zeros(())
    for t in range(1, frames.shape[1]):
        x = frames[:, t]
        pose = model.label_transformation(labels[:, t])
        z, mu, logvar = model.posterior(x, pose, None if eps is None else eps[:, t - 1])
        prediction = model.step(last, pose, z)
        mse = mse + F.mse_loss(prediction, x)
        kl = kl + kl_divergence(mu, logvar).sum() / len(x)
        last = x if forced else prediction
    loss = mse + beta * kl
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return torch.stack([loss, mse, kl]).detach()


class StarterCode:
    """Trains as the course does: Adam, MultiStepLR, schedules that follow the epoch, one coin for a whole batch."""

    def __init__(self, model: ConditionalVAE, cfg: LabConfig, device: torch.device):
        self.model, self.cfg, self.device = model.to(device).train(), cfg, device
        self.loader = DataLoader(FixedClips(cfg), cfg.batch_size, drop_last=True, num_workers=cfg.num_workers)
        self.batches = iter(self.loader)
        self.optimizer = torch.optim.Adam(model.parameters(), lr=cfg.lr)
        self.scheduler = torch.optim.lr_scheduler.MultiStepLR(self.optimizer, [2, 5])
        self.beta, self.tfr = KLAnnealing.from_config(cfg), TeacherForcing.from_config(cfg)
        self.coin, self.epoch = random.Random(cfg.seed), 0

    def draw(self) -> list[Tensor]:
        """Frames and labels of the next batch, (B, T, 3, H, W) on the device; an epoch ends where there is none."""
        batch = next(self.batches, None)
        if batch is None:
            self.epoch += 1
            self.scheduler.step()
            self.batches = iter(self.loader)
            batch = next(self.batches)
        return [images.to(self.device) for images in batch]

    def step(self, tfr: float | None = None) -> Tensor:
        """One training step, see ``training_step``; ``tfr`` in place of the scheduled teacher-forcing ratio."""
        frames, labels = self.draw()
        forced = self.coin.random() < (self.tfr(self.epoch) if tfr is None else tfr)
        beta = self.beta(self.epoch, self.cfg.num_epoch)
        return training_step(self.model, self.optimizer, frames, labels, forced, beta)


class FrameByFrame(nn.Module):
    """In training, encodes frames of ``batch`` clips, (k * batch, 3, H, W), one of each clip at a time."""

    def __init__(self, encoder: nn.Module, batch: int):
        super().__init__()
        self.encoder, self.batch = encoder, batch

    def forward(self, images: Tensor) -> Tensor:
        if not self.training:
            return self.encoder(images)
        moments = images.unflatten(0, (-1, self.batch))  # (k, batch, 3, H, W): time comes first
        return torch.cat([self.encoder(x) for x in moments])


def same_mathematics(cfg: LabConfig) -> dict[str, Any]:
    """Settings with which ``Trainer`` computes the same; its label encoder needs ``FrameByFrame`` too."""
    return dict(
        variant="course", mode="clips", optim="Adam", lr=1e-3, warmup=0.0, l1=0.0, grad_clip=1e9, ema=0.0,
        feedback_grad=True, sigma_x=math.sqrt(3 * cfg.frame_H * cfg.frame_W / 2),  # so that KL has the weight beta
    )  # fmt: skip
