"""ConditionalVAE: the posterior, one prediction step, the training rollout, and generation from the prior.

Only ``posterior`` and the training rollout see the frame that is to be predicted; ``generate`` never does.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labutils.config import LabConfig
from labutils.errors import LabError
from labutils.modules import build, course, fast, kl_divergence, reparameterize

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
    Prior_Predictor: nn.Module  # only with a learned prior

    def __init__(self, cfg: LabConfig):
        super().__init__()
        self.cfg = cfg
        modules, self.latent_shape = build(cfg)
        for name, module in modules.items():
            self.add_module(name, module)

    # ------------------------------------------------------------------------------------------------ one frame

    def posterior(
        self, x: Tensor, label_feature: Tensor, eps: Tensor | None = None, previous: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """z ~ q(z | x_t, P_t), with mu and logvar, each (B, N, h, w), from the CURRENT frame x (B, 3, H, W).

        "innovation" needs ``previous`` (B, 3, H, W), the frame that the decoder is fed; ``LabError`` without it.
        """
        feature = self.frame_transformation(x)
        if self.cfg.posterior == "frame":
            return self._infer(feature, feature, label_feature, eps)
        if previous is None:
            raise LabError("the posterior of this model sees how x_t differs from the previous frame; give previous=")
        return self._infer(self.frame_transformation(previous), feature, label_feature, eps)

    def prior(self, previous: Tensor, label_feature: Tensor) -> tuple[Tensor, Tensor] | None:
        """Mean and log variance (B, N, h, w) of p(z | x_{t-1}, P_t); None for N(0, I)."""
        return self._prior(self.frame_transformation(previous), label_feature)

    def draw(self, previous: Tensor, label_feature: Tensor, eps: Tensor) -> Tensor:
        """z of the prior p(z | x_{t-1}, P_t) for standard normal noise eps (B, N, h, w); eps = 0 gives its mean."""
        return self._draw(self.frame_transformation(previous), label_feature, eps)

    def step(self, previous: Tensor, label_feature: Tensor, z: Tensor) -> Tensor:
        """Predict x_t (B, 3, H, W) from the PREVIOUS frame (B, 3, H, W), the feature of P_t, and z (B, N, h, w)."""
        return self.Generator(self.Decoder_Fusion(self.frame_transformation(previous), label_feature, z))

    # With an underscore, the same for features: of the previous and the current frame, (B, F, h', w'), and of the pose.

    def _infer(self, fed: Tensor, current: Tensor, label: Tensor, eps: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """z, mu, logvar; what is new in a frame is how it differs from the one that the decoder is fed."""
        seen = current - fed if self.cfg.posterior == "innovation" else current
        return self.Gaussian_Predictor(seen, label, eps)

    def _prior(self, previous: Tensor, label: Tensor) -> tuple[Tensor, Tensor] | None:
        """Mean and log variance of p(z | x_{t-1}, P_t); None for N(0, I).

        Denton & Fergus, "Stochastic Video Generation with a Learned Prior" (ICML 2018), without their recurrence.
        """
        return self.Prior_Predictor(previous, label)[1:] if self.cfg.prior == "learned" else None

    def _draw(self, previous: Tensor, label: Tensor, eps: Tensor) -> Tensor:
        prior = self._prior(previous, label)
        return eps if prior is None else reparameterize(*prior, eps)

    def _decode(self, previous: Tensor, label: Tensor, z: Tensor) -> Tensor:
        return self.Generator(self.Decoder_Fusion(previous, label, z))

    def _predict(self, previous: Tensor, current: Tensor, label: Tensor, eps: Tensor | None) -> tuple[Tensor, Tensor]:
        """A training step's prediction (B, 3, H, W) with z from the posterior, and its KL (B,) in nats."""
        z, mu, logvar = self._infer(previous, current, label, eps)
        return self._decode(previous, label, z), kl_divergence(mu, logvar, self._prior(previous, label))

    # ------------------------------------------------------------------------------------------------- a rollout

    def rollout(
        self, frames: Tensor, labels: Tensor, teacher: Tensor, eps: Tensor | None = None, feedback_grad: bool = False
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

        def flat(x: Tensor) -> Tensor:  # (B, k, ...) -> (k*B, ...): time first, so that a moment is a slice
            return x.transpose(0, 1).flatten(0, 1)

        def clips(x: Tensor) -> Tensor:  # (k*B, ...) -> (B, k, ...)
            return x.unflatten(0, (-1, B)).transpose(0, 1)

        frame_feature = self.frame_transformation(flat(frames))  # (T*B, F, h, w)
        label_feature = self.label_transformation(flat(labels[:, 1:]))  # ((T-1)*B, L, h, w)
        noise = torch.randn(B, T - 1, *self.latent_shape, device=frames.device) if eps is None else eps
        previous, current, noise = frame_feature[:-B], frame_feature[B:], flat(noise)

        if T == 2 or bool(teacher[:, 1:].all()):  # x_1 is given: the first coin has no say
            predictions, kl = self._predict(previous, current, label_feature, noise)
            return clips(predictions), clips(kl)

        steps: list[tuple[Tensor, Tensor]] = []
        forced = teacher.to(frames.device, non_blocking=True)[..., None, None, None]  # (B, T-1, 1, 1, 1)
        for t in range(T - 1):  # predicts frames[:, t + 1]
            now = slice(t * B, (t + 1) * B)
            fed = previous[now]
            if t > 0:
                generated = steps[-1][0] if feedback_grad else steps[-1][0].detach()
                fed = torch.where(forced[:, t], fed, self.frame_transformation(generated))
            steps.append(self._predict(fed, current[now], label_feature[now], noise[now]))
        return torch.stack([x for x, _ in steps], dim=1), torch.stack([kl for _, kl in steps], dim=1)

    forward = rollout  # what a training step calls

    @torch.no_grad()
    def generate(
        self, x1: Tensor, labels: Tensor, z: Tensor | None = None, generator: torch.Generator | None = None,
        progress: Callable[[int], Any] | None = None, eps: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Predict a video from its first frame and its poses; nothing else of the video is seen.

        Args:
            x1: (B, 3, H, W) in [0, 1], the given first frame.
            labels: (B, T, 3, H, W), one pose for each frame; the first one is not used.
            z: (B, T-1, N, h, w), or None to draw every z_t from the prior.
            generator: source of the prior's draws.
            progress: called with 1 after each predicted frame.
            eps: the draws' standard normal noise, (B, T-1, N, h, w), in place of ``generator``.

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
        for name, given in (("z", z), ("eps", eps)):
            if given is not None and given.shape != expected:
                raise LabError(f"generate: {name} is {tuple(given.shape)}; expected (B, T-1, N, h, w) = {expected}")

        frames = torch.empty_like(labels)  # (B, T, 3, H, W)
        frames[:, 0] = x = x1.clamp(0, 1)
        for start in range(1, T, LABELS_AT_ONCE):
            chunk = labels[:, start : start + LABELS_AT_ONCE]  # (B, k, 3, H, W)
            features = self.label_transformation(chunk.flatten(0, 1)).unflatten(0, (B, -1))
            for k in range(chunk.shape[1]):
                t, previous = start + k - 1, self.frame_transformation(x)
                if z is None:
                    noise = self.sample_prior(B, generator) if eps is None else eps[:, t]
                    z_t = self._draw(previous, features[:, k], noise)
                else:
                    z_t = z[:, t]
                x = self._decode(previous, features[:, k], z_t).clamp(0, 1)
                frames[:, start + k] = x
                if progress:
                    progress(1)
        return frames

    def sample_prior(self, batch: int, generator: torch.Generator | None = None) -> Tensor:
        """N(0, I), (batch, N, h, w), on the model's device: the prior, or the noise of a learned one (see ``draw``)."""
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
