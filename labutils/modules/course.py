"""The course's own five modules.  Names, shapes and arithmetic fit its checkpoints (1,585,620 weights).

Every layer works at full resolution, so a frame costs about 20 GFLOP to train on.
"""

import numpy as np
import torch
from torch import Tensor, nn

from labutils.config import LabConfig
from labutils.modules.latent import reparameterize


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut: (B, i, H, W) -> (B, o, H, W)."""

    def __init__(self, i: int, o: int):
        super().__init__()
        self.conv1 = nn.Conv2d(i, o, 3, padding=1)
        self.conv2 = nn.Conv2d(o, o, 3, padding=1)
        self.skip = nn.Conv2d(i, o, 1) if i != o else nn.Identity()
        self.act = nn.LeakyReLU(0.01)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv2(self.act(self.conv1(x)))) + self.skip(x)


class DepthConv(nn.Module):
    """1x1, depthwise 3x3, 1x1 convolutions around a shortcut: (B, i, H, W) -> (B, o, H, W)."""

    def __init__(self, i: int, o: int):
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(i, i, 1), nn.LeakyReLU(0.01))
        self.depth_conv = nn.Conv2d(i, i, 3, padding=1, groups=i)
        self.conv2 = nn.Conv2d(i, o, 1)
        self.adaptor = nn.Conv2d(i, o, 1) if i != o else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.depth_conv(self.conv1(x))) + self.adaptor(x)


class ConvFFN(nn.Module):
    """Gated 1x1 convolutions around a shortcut: (B, c, H, W) -> (B, c, H, W)."""

    def __init__(self, c: int):
        super().__init__()
        self.conv = nn.Conv2d(c, 4 * c, 1)
        self.conv_out = nn.Conv2d(2 * c, c, 1)
        self.act = nn.LeakyReLU(0.1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.conv(x).chunk(2, dim=1)  # each (B, 2c, H, W)
        return self.conv_out(a * self.act(b)) + x


class DepthConvBlock(nn.Module):
    """DepthConv, then ConvFFN: (B, i, H, W) -> (B, o, H, W)."""

    def __init__(self, i: int, o: int):
        super().__init__()
        self.block = nn.Sequential(DepthConv(i, o), ConvFFN(o))

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class RGB_Encoder(nn.Sequential):
    """Frame (B, 3, H, W) -> feature (B, F, H, W)."""

    def __init__(self, in_chans: int, F: int):
        super().__init__(
            ResidualBlock(in_chans, F // 8), DepthConvBlock(F // 8, F // 8),
            ResidualBlock(F // 8, F // 4), DepthConvBlock(F // 4, F // 4),
            ResidualBlock(F // 4, F // 2), DepthConvBlock(F // 2, F // 2),
            nn.Conv2d(F // 2, F, 3, padding=1),
        )  # fmt: skip


class Label_Encoder(nn.Sequential):
    """Pose image (B, 3, H, W) -> feature (B, L, H, W)."""

    def __init__(self, in_chans: int, L: int):
        super().__init__(
            nn.ReflectionPad2d(3), nn.Conv2d(in_chans, L // 2, 7), nn.BatchNorm2d(L // 2), nn.Identity(),
            ResidualBlock(L // 2, L),
        )  # fmt: skip


class Gaussian_Predictor(nn.Sequential):
    """Features of the current frame and pose, (B, F, H, W) and (B, L, H, W) -> z, mu, logvar, each (B, N, H, W)."""

    def __init__(self, in_chans: int, N: int):
        super().__init__(
            ResidualBlock(in_chans, N // 4), DepthConvBlock(N // 4, N // 4),
            ResidualBlock(N // 4, N // 2), DepthConvBlock(N // 2, N // 2),
            ResidualBlock(N // 2, N), nn.Identity(), nn.Conv2d(N, 2 * N, 1),
        )  # fmt: skip

    def forward(  # type: ignore[override]
        self, frame: Tensor, label: Tensor, eps: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        mu, logvar = super().forward(torch.cat([frame, label], dim=1)).chunk(2, dim=1)
        return reparameterize(mu, logvar, eps), mu, logvar


class Decoder_Fusion(nn.Sequential):
    """Features of the previous frame and the current pose, and z -> fused feature (B, O, H, W)."""

    def __init__(self, in_chans: int, O: int):  # noqa: E741
        i = in_chans
        super().__init__(
            DepthConvBlock(i, i), ResidualBlock(i, i // 4),
            DepthConvBlock(i // 4, i // 2), ResidualBlock(i // 2, i // 2),
            DepthConvBlock(i // 2, O // 2), nn.Conv2d(O // 2, O, 1),
        )  # fmt: skip

    def forward(self, frame: Tensor, label: Tensor, z: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(torch.cat([frame, label, z], dim=1))


class Generator(nn.Sequential):
    """Fused feature (B, O, H, W) -> frame (B, 3, H, W).  Nothing bounds the output; ``generate`` clips it."""

    def __init__(self, O: int, out_chans: int):  # noqa: E741
        super().__init__(
            DepthConvBlock(O, O), ResidualBlock(O, O // 2), DepthConvBlock(O // 2, O // 2),
            ResidualBlock(O // 2, O // 4), DepthConvBlock(O // 4, O // 4),
            ResidualBlock(O // 4, O // 8), DepthConvBlock(O // 8, O // 8), nn.Conv2d(O // 8, out_chans, 1),
        )  # fmt: skip

    def set_background(self, frames: np.ndarray, labels: np.ndarray) -> None:
        """Nothing: it holds no background that could start from training frames."""


def build(cfg: LabConfig) -> tuple[dict[str, nn.Module], tuple[int, int, int]]:
    """The five modules and the shape (N, h, w) of one latent."""
    modules: dict[str, nn.Module] = {
        "frame_transformation": RGB_Encoder(3, cfg.F_dim),
        "label_transformation": Label_Encoder(3, cfg.L_dim),
        "Gaussian_Predictor": Gaussian_Predictor(cfg.F_dim + cfg.L_dim, cfg.N_dim),
        "Decoder_Fusion": Decoder_Fusion(cfg.F_dim + cfg.L_dim + cfg.N_dim, cfg.D_out_dim),
        "Generator": Generator(cfg.D_out_dim, 3),
    }
    if cfg.prior == "learned":
        modules["Prior_Predictor"] = Gaussian_Predictor(cfg.F_dim + cfg.L_dim, cfg.N_dim)
    return modules, (cfg.N_dim, cfg.frame_H, cfg.frame_W)
