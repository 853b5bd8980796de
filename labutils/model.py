"""ConditionalVAE: the posterior, one prediction step, the training rollout, and generation from the prior.

Only ``posterior`` ever sees the frame that is to be predicted, and only training calls it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labutils.config import LabConfig
from labutils.errors import LabError
from labutils.modules import build, course, fast, kl_divergence

LABELS_AT_ONCE = 64  # frames whose labels are encoded together while generating: bounds the memory


class ConditionalVAE(nn.Module):
    """A conditional VAE that predicts frame x_t from x_{t-1}, the pose P_t and a latent z_t.

    The attribute names of the five modules are those of the course's checkpoints.
    """

    frame_transformation: nn.Module
    label_transformation: nn.Module
    Gaussian_Predictor: nn.Module
    Decoder_Fusion: nn.Module
    Generator: "fast.Generator | course.Generator"

    def __init__(self, cfg: LabConfig):
        super().__init__()
        self.cfg = cfg
        modules, self.latent_shape = build(cfg)
        for name, module in modules.items():
            self.add_module(name, module)

    # ------------------------------------------------------------------------------------------------ one frame

    def posterior(self, x: Tensor, label_feature: Tensor, eps: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """z ~ q(z | x_t, P_t), with mu and logvar, each (B, N, h, w), from the CURRENT frame x (B, 3, H, W)."""
        return self.Gaussian_Predictor(self.frame_transformation(x), label_feature, eps)

    def step(self, previous: Tensor, label_feature: Tensor, z: Tensor) -> Tensor:
        """Predict x_t (B, 3, H, W) from the PREVIOUS frame (B, 3, H, W), the feature of P_t, and z (B, N, h, w)."""
        return self.Generator(self.Decoder_Fusion(self.frame_transformation(previous), label_feature, z))

    # ------------------------------------------------------------------------------------------------- a rollout

    def rollout(
        self,
        frames: Tensor,
        labels: Tensor,
        teacher: Tensor,
        eps: Tensor | None = None,
        feedback_grad: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Predict frames 2..T of training clips, fed with the true or the generated previous frame.

        The encoders see all frames at once; only the decoder has to go step by step, and where every clip is fed
        with the true frame throughout, not even that.

        Args:
            frames, labels: (B, T, 3, H, W).
            teacher: bool (B, T-1), on the CPU; True where the previous TRUE frame is fed.
            eps: standard normal noise of z, (B, T-1, N, h, w); drawn if it is not given.
            feedback_grad: let gradients flow through generated frames that are fed back.

        Returns:
            predictions (B, T-1, 3, H, W) of x_2..x_T, and KL in nats (B, T-1).
        """
        B, T = frames.shape[:2]

        def flat(clips: Tensor) -> Tensor:  # (B, k, ...) -> (k*B, ...): time first, so that a moment is a slice
            return clips.transpose(0, 1).flatten(0, 1)

        def clips(flat: Tensor) -> Tensor:  # (k*B, ...) -> (B, k, ...)
            return flat.unflatten(0, (-1, B)).transpose(0, 1)

        frame_feature = self.frame_transformation(flat(frames))  # (T*B, F, h, w)
        label_feature = self.label_transformation(flat(labels[:, 1:]))  # ((T-1)*B, L, h, w)
        noise = None if eps is None else flat(eps)
        z, mu, logvar = self.Gaussian_Predictor(frame_feature[B:], label_feature, noise)  # each ((T-1)*B, N, h, w)
        kl = clips(kl_divergence(mu, logvar))  # (B, T-1)

        if T == 2 or bool(teacher[:, 1:].all()):  # x_1 is given: the first coin has no say
            return clips(self.Generator(self.Decoder_Fusion(frame_feature[:-B], label_feature, z))), kl

        predictions: list[Tensor] = []
        forced = teacher.to(frames.device, non_blocking=True)[..., None, None, None]  # (B, T-1, 1, 1, 1)
        for t in range(T - 1):  # predicts frames[:, t + 1]
            now = slice(t * B, (t + 1) * B)
            previous = frame_feature[now]
            if t > 0:
                generated = predictions[-1] if feedback_grad else predictions[-1].detach()
                previous = torch.where(forced[:, t], previous, self.frame_transformation(generated))
            predictions.append(self.Generator(self.Decoder_Fusion(previous, label_feature[now], z[now])))
        return torch.stack(predictions, dim=1), kl

    forward = rollout  # what a training step calls

    @torch.no_grad()
    def generate(
        self,
        x1: Tensor,
        labels: Tensor,
        z: Tensor | None = None,
        generator: torch.Generator | None = None,
        progress: Callable[[int], Any] | None = None,
    ) -> Tensor:
        """Predict a video from its first frame and its poses; nothing else of the video is seen.

        Args:
            x1: (B, 3, H, W) in [0, 1], the given first frame.
            labels: (B, T, 3, H, W), one pose for each frame; the first one is not used.
            z: (B, T-1, N, h, w), or None to draw every z_t from the prior N(0, I).
            generator: source of the prior's draws.
            progress: called with 1 after each predicted frame.

        Returns:
            (B, T, 3, H, W) in [0, 1], x1 first.

        Raises:
            LabError: the shapes do not fit together.
        """
        B, T = labels.shape[:2] if labels.dim() == 5 else (0, 0)
        if labels.dim() != 5 or x1.shape != labels[:, 0].shape:
            found = f"x1 is {tuple(x1.shape)} and labels {tuple(labels.shape)}"
            raise LabError(f"generate: {found}; expected (B, 3, H, W) and (B, T, 3, H, W)")
        size = (3, self.cfg.frame_H, self.cfg.frame_W)
        if x1.shape[1:] != size:
            raise LabError(f"generate: frames are {tuple(x1.shape[1:])}, the model was built for {size}")
        expected = (B, T - 1, *self.latent_shape)
        if z is not None and z.shape != expected:
            raise LabError(f"generate: z is {tuple(z.shape)}; expected (B, T-1, N, h, w) = {expected}")

        frames = torch.empty_like(labels)  # (B, T, 3, H, W)
        frames[:, 0] = x = x1.clamp(0, 1)
        for start in range(1, T, LABELS_AT_ONCE):
            chunk = labels[:, start : start + LABELS_AT_ONCE]  # (B, k, 3, H, W)
            features = self.label_transformation(chunk.flatten(0, 1)).unflatten(0, (B, -1))
            for k in range(chunk.shape[1]):
                z_t = self.sample_prior(B, generator) if z is None else z[:, start + k - 1]
                x = self.step(x, features[:, k], z_t).clamp(0, 1)
                frames[:, start + k] = x
                if progress:
                    progress(1)
        return frames

    def sample_prior(self, batch: int, generator: torch.Generator | None = None) -> Tensor:
        """z ~ N(0, I), (batch, N, h, w), on the model's device (drawn where the generator lives)."""
        device = next(self.parameters()).device
        source = generator.device if generator is not None else device
        return torch.randn((batch, *self.latent_shape), generator=generator, device=source).to(device)

    # ------------------------------------------------------------------------------------------------ around it

    def set_background(self, frames: np.ndarray, labels: np.ndarray) -> None:
        """Start what the generator knows of the empty room from training frames and poses, uint8 (N, H, W, 3) each."""
        self.Generator.set_background(frames, labels)

    def num_parameters(self) -> int:
        """How many weights the five modules hold together."""
        return sum(p.numel() for p in self.parameters())


@contextmanager
def evaluating(model: nn.Module) -> Iterator[torch.device]:
    """The model in evaluation mode without gradients, and afterwards as it was; yields its device."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield next((p.device for p in model.parameters()), torch.device("cpu"))
    finally:
        model.train(was_training)
