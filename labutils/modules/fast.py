"""The five modules, small and quick: half resolution, a little U-Net, a learned background, bounded output.

A frame costs 0.2 GFLOP to train on, 100 times less than in the course's architecture (``make bench`` counts them).
What makes it quick:

- half resolution: 2x2 pixels become channels (PixelUnshuffle) on the way in, and pixels again on the way out;
- the figure is small and the room stays: the room is a picture of weights, over which the network paints the figure;
- labels are white paper: 1 - P is zero almost everywhere;
- z is one short vector for the whole frame: it can tell what pose and previous frame do not (the light of the room),
  but it has no room for a copy of the frame, which the prior could not give back.
"""

from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labutils.config import LabConfig
from labutils.images import to_float
from labutils.modules.latent import reparameterize

PAPER, REACH = 250, 5  # a label pixel darker than PAPER is a limb; the body reaches up to REACH pixels around limbs


def conv3x3(i: int, o: int, stride: int = 1) -> nn.Conv2d:
    """(B, i, H, W) -> (B, o, H / stride, W / stride)."""
    return nn.Conv2d(i, o, 3, stride=stride, padding=1)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut: (B, c, h, w) -> (B, c, h, w)."""

    def __init__(self, c: int):
        super().__init__()
        self.conv1, self.conv2 = conv3x3(c, c), conv3x3(c, c)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class RGB_Encoder(nn.Module):
    """Frame (B, 3, H, W) -> feature (B, c, H/2, W/2)."""

    def __init__(self, c: int):
        super().__init__()
        self.conv = conv3x3(12, c)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pixel_unshuffle(x, 2))


class Label_Encoder(nn.Module):
    """Pose image (B, 3, H, W) -> feature (B, c, H/2, W/2)."""

    def __init__(self, c: int):
        super().__init__()
        self.conv = conv3x3(12, c)

    def forward(self, P: Tensor) -> Tensor:
        return self.conv(F.pixel_unshuffle(1 - P, 2))


class Gaussian_Predictor(nn.Module):
    """Features of the current frame and pose, (B, c, H/2, W/2) each -> z, mu, logvar, each (B, N, 1, 1)."""

    def __init__(self, c: int, N: int):
        super().__init__()
        self.net = nn.Sequential(
            nn.ReLU(), conv3x3(2 * c, 2 * c, stride=2), nn.ReLU(), conv3x3(2 * c, 2 * c, stride=2), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(2 * c, 2 * N, 1),
        )  # fmt: skip

    def forward(self, frame: Tensor, label: Tensor, eps: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        mu, logvar = self.net(torch.cat([frame, label], dim=1)).chunk(2, dim=1)
        return reparameterize(mu, logvar, eps), mu, logvar


class Decoder_Fusion(nn.Module):
    """Features of the previous frame and the current pose, and z -> fused feature (B, c, H/2, W/2)."""

    def __init__(self, c: int, N: int):
        super().__init__()
        self.conv = conv3x3(2 * c, c)
        self.latent = nn.Conv2d(N, c, 1)

    def forward(self, frame: Tensor, label: Tensor, z: Tensor) -> Tensor:
        fused = self.conv(F.relu(torch.cat([frame, label], dim=1)))
        return fused + self.latent(z)  # (B, c, 1, 1) broadcasts: every place is told the same


class Generator(nn.Module):
    """Fused feature (B, c, H/2, W/2) -> frame (B, 3, H, W) in [0, 1].

    A U-Net of three levels (Ronneberger et al., MICCAI 2015) paints a colour and its opacity over the background.
    """

    def __init__(self, c: int, height: int, width: int):
        super().__init__()
        widths = (c, 3 * c, 6 * c)  # channels at 1/2, 1/4 and 1/8 of the resolution: about equal work on each level
        self.down = nn.ModuleList(ResidualBlock(w) for w in widths[:2])
        self.shrink = nn.ModuleList(conv3x3(a, b, stride=2) for a, b in pairwise(widths))
        self.middle = nn.Sequential(ResidualBlock(widths[2]), ResidualBlock(widths[2]))
        self.grow = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in pairwise(widths))
        self.up = nn.ModuleList(ResidualBlock(w) for w in widths[:2])
        self.out = conv3x3(c, 16)
        self.background = nn.Parameter(torch.zeros(3, height, width))  # logits of the empty room

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for block, shrink in zip(self.down, self.shrink, strict=True):
            skips.append(block(x))
            x = shrink(F.relu(skips[-1]))
        x = self.middle(x)  # (B, 6c, H/8, W/8)
        for block, grow, skip in reversed(list(zip(self.up, self.grow, skips, strict=True))):
            x = block(skip + F.interpolate(grow(x), scale_factor=2))
        x = F.pixel_shuffle(self.out(F.relu(x)), 2)  # (B, 4, H, W)
        opacity, colour = torch.sigmoid(x[:, :1] - 2), torch.sigmoid(x[:, 1:])
        return torch.lerp(torch.sigmoid(self.background), colour, opacity)

    @torch.no_grad()
    def set_background(self, frames: np.ndarray, labels: np.ndarray) -> None:
        """Start the background from training frames and their poses, uint8 (N, H, W, 3) each.

        It is the median of each pixel over the frames in which no limb is drawn near it; without regard to the poses,
        a person who stands at one place most of the time would become a part of the room.
        """
        every = max(1, len(frames) // 400)
        frames, labels = frames[::every], labels[::every]
        ink = torch.from_numpy((labels < PAPER).any(axis=-1).astype(np.float32))[:, None]  # (n, 1, H, W)
        near = F.max_pool2d(ink, 2 * REACH + 1, stride=1, padding=REACH)[:, 0].numpy() > 0  # (n, H, W)
        near |= ~ink.flatten(1).any(dim=1).numpy()[:, None, None]  # an empty label does not tell where the person is
        room = np.ma.median(np.ma.masked_array(frames, np.broadcast_to(near[..., None], frames.shape)), axis=0)
        room = np.where(np.ma.getmaskarray(room), np.median(frames, axis=0), room.filled(0))  # (H, W, 3)
        self.background.copy_(torch.logit(to_float(room.astype(np.uint8)).clamp(0.02, 0.98)))


def build(cfg: LabConfig) -> tuple[dict[str, nn.Module], tuple[int, int, int]]:
    """The five modules and the shape (N, h, w) of one latent."""
    c, N, H, W = cfg.width, cfg.N_dim, cfg.frame_H, cfg.frame_W
    modules: dict[str, nn.Module] = {
        "frame_transformation": RGB_Encoder(c),
        "label_transformation": Label_Encoder(c),
        "Gaussian_Predictor": Gaussian_Predictor(c, N),
        "Decoder_Fusion": Decoder_Fusion(c, N),
        "Generator": Generator(c, H, W),
    }
    if cfg.prior == "learned":
        modules["Prior_Predictor"] = Gaussian_Predictor(c, N)
    return modules, (N, 1, 1)
