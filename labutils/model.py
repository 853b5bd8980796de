"""ConditionalVAE: the posterior, one prediction step, the training rollout, and generation from the prior.

Only ``posterior`` ever sees the frame that is to be predicted, and only training calls it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labutils.config import LabConfig
from labutils.errors import LabError
from labutils.images import to_float
from labutils.modules import build, kl_divergence

COURSE_KEYS = {"state_dict", "lr", "tfr", "last_epoch"}
PAPER, REACH = 250, 5  # a label pixel darker than PAPER is a limb; the body reaches up to REACH pixels around limbs
LABELS_AT_ONCE = 64  # frames whose labels are encoded together while generating: bounds the memory


class ConditionalVAE(nn.Module):
    """A conditional VAE that predicts frame x_t from x_{t-1}, the pose P_t and a latent z_t.

    The attribute names of the five modules are those of the course's checkpoints.
    """

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

    def step(self, previous: Tensor, label_feature: Tensor, z: Tensor, shift: Tensor | None = None) -> Tensor:
        """Predict a frame (B, 3, H, W) from the LAST frame (B, 3, H, W), the feature of its pose, z (B, N, h, w).

        ``shift`` (B, 2): whole pixels (down, right) by which the scene was moved, to have more scenes to train on.
        """
        fused = self.Decoder_Fusion(self.frame_transformation(previous), label_feature, z)
        return self.Generator(fused, shift)

    def transition(
        self, previous: Tensor, x: Tensor, label: Tensor, eps: Tensor | None = None, shift: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Many independent training steps: x_{t-1}, x_t, P_t (B, 3, H, W) -> prediction, and KL (B,) in nats."""
        label_feature = self.label_transformation(label)
        z, mu, logvar = self.posterior(x, label_feature, eps)
        return self.step(previous, label_feature, z, shift), kl_divergence(mu, logvar)

    # ------------------------------------------------------------------------------------------------- a rollout

    def rollout(
        self,
        frames: Tensor,
        labels: Tensor,
        teacher: Tensor,
        eps: Tensor | None = None,
        feedback_grad: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Predict frames 2..T of training clips, fed with the true or the generated last frame.

        The encoders see all frames at once; only the decoder has to go step by step, and where every clip is fed
        with the true frame throughout, not even that.

        Args:
            frames, labels: (B, T, 3, H, W).
            teacher: bool (B, T-1), on the CPU; True where the last TRUE frame is fed.
            eps: standard normal noise of z, (B, T-1, N, h, w); drawn if it is not given.
            feedback_grad: let gradients flow through generated frames that are fed back.

        Returns:
            predictions (B, T-1, 3, H, W) of x_2..x_T, and KL in nats (B, T-1).
        """
        B, T = frames.shape[:2]

        def clips(flat: Tensor) -> Tensor:  # (B*k, ...) -> (B, k, ...)
            return flat.unflatten(0, (B, -1))

        frame_feature = clips(self.frame_transformation(frames.flatten(0, 1)))  # (B, T, F, h, w)
        label_feature = clips(self.label_transformation(labels[:, 1:].flatten(0, 1)))  # (B, T-1, L, h, w)
        z, mu, logvar = self.Gaussian_Predictor(
            frame_feature[:, 1:].flatten(0, 1), label_feature.flatten(0, 1), None if eps is None else eps.flatten(0, 1)
        )  # each (B*(T-1), N, h, w)
        kl, z = clips(kl_divergence(mu, logvar)), clips(z)

        if bool(teacher.all()):
            last = frame_feature[:, :-1].flatten(0, 1)
            fused = self.Decoder_Fusion(last, label_feature.flatten(0, 1), z.flatten(0, 1))
            return clips(self.Generator(fused)), kl

        predictions: list[Tensor] = []
        forced = teacher.to(frames.device, non_blocking=True)[..., None, None, None]  # (B, T-1, 1, 1, 1)
        for t in range(T - 1):  # predicts frames[:, t + 1]
            last = frame_feature[:, t]
            if t > 0:
                generated = predictions[-1] if feedback_grad else predictions[-1].detach()
                last = torch.where(forced[:, t], last, self.frame_transformation(generated))
            predictions.append(self.Generator(self.Decoder_Fusion(last, label_feature[:, t], z[:, t])))
        return torch.stack(predictions, dim=1), kl

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
        """Start the fast variant's background plate from training frames and their poses, uint8 (N, H, W, 3) each.

        It is the median of each pixel over the frames in which no limb is drawn near it; without regard to the poses,
        a person who stands at one place most of the time would become a part of the room.
        """
        if self.cfg.variant != "fast":
            return
        every = max(1, len(frames) // 400)
        frames, labels = frames[::every], labels[::every]
        ink = torch.from_numpy((labels < PAPER).any(axis=-1).astype(np.float32))[:, None]  # (n, 1, H, W)
        near = F.max_pool2d(ink, 2 * REACH + 1, stride=1, padding=REACH)[:, 0].numpy() > 0  # (n, H, W)
        near |= ~ink.flatten(1).any(dim=1).numpy()[:, None, None]  # an empty label does not tell where the person is
        room = np.ma.median(np.ma.masked_array(frames, np.broadcast_to(near[..., None], frames.shape)), axis=0)
        plate = np.where(np.ma.getmaskarray(room), np.median(frames, axis=0), room.filled(0))  # (H, W, 3)
        plate = to_float(plate.astype(np.uint8)).clamp(0.02, 0.98)
        self.Generator.background.data.copy_(torch.logit(plate))

    def num_parameters(self) -> int:
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


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of ours or of the course; nothing in it is executed.

    Raises:
        LabError: the file is missing, truncated, or no checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise LabError(f"the checkpoint {path} is missing")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for a damaged or foreign file
        raise LabError(f"{path} cannot be read as a checkpoint ({str(error).splitlines()[0]})") from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise LabError(f"{path} is no checkpoint: it holds no state_dict")
    return checkpoint


def checkpoint_config(checkpoint: dict[str, Any]) -> LabConfig:
    """The configuration of a checkpoint; a course checkpoint has none, its dimensions are read off the weights."""
    if "config" in checkpoint:
        return LabConfig.from_dict(checkpoint["config"])
    weights = checkpoint["state_dict"]
    try:
        return LabConfig(
            variant="course",
            F_dim=weights["frame_transformation.6.weight"].shape[0],
            L_dim=weights["label_transformation.4.conv2.weight"].shape[0],
            N_dim=weights["Gaussian_Predictor.6.weight"].shape[1],
            D_out_dim=weights["Decoder_Fusion.5.weight"].shape[0],
        )
    except KeyError as error:
        raise LabError(f"the checkpoint is neither the lab's nor the course's: it holds no {error}") from error


def load_weights(model: nn.Module, weights: dict[str, Tensor], source: str | Path) -> None:
    """Load weights into a model, naming the first one that does not fit.

    Raises:
        LabError: weights are missing, unknown or of another shape.
    """
    own = model.state_dict()
    for name in [*own, *weights]:
        found, expected = weights.get(name), own.get(name)
        if found is None or expected is None or found.shape != expected.shape:
            have = "missing" if found is None else f"{tuple(found.shape)}"
            want = "not part of this model" if expected is None else f"{tuple(expected.shape)}"
            raise LabError(f"{source} does not fit the model: {name} is {have}, expected {want}")
    model.load_state_dict(weights)


def load_model(path: str | Path, device: str | torch.device = "cpu") -> ConditionalVAE:
    """The model of a checkpoint (ours: the averaged weights; or the course's), in evaluation mode.

    Raises:
        LabError: the file is missing, damaged, or does not fit the model it describes.
    """
    checkpoint = read_checkpoint(path)
    model = ConditionalVAE(checkpoint_config(checkpoint))
    load_weights(model, checkpoint["state_dict"], path)
    return model.eval().to(device)
