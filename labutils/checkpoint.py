"""Checkpoints and the history beside them: read without executing anything, checked before they are used."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from labutils import contents
from labutils.config import LabConfig
from labutils.errors import LabError
from labutils.history import COLUMNS, Row, history_before, read_history, write_history
from labutils.model import ConditionalVAE

__all__ = [
    "COLUMNS", "Row", "checkpoint_config", "history_before", "load_model", "load_weights", "read_checkpoint",
    "read_history", "write_history",
]  # fmt: skip


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of ours or of the course; nothing in it is executed, and each value is checked.

    Raises:
        LabError: the file is missing, truncated, or no checkpoint of ours or the course's; or a value is an odd one.
    """
    checkpoint = contents.read(Path(path))
    try:
        checkpoint_config(checkpoint)
    except LabError as error:
        raise LabError(f"{path}: {error}") from error
    return checkpoint


def checkpoint_config(checkpoint: Mapping[str, Any]) -> LabConfig:
    """The configuration of a checkpoint; a course checkpoint has none, its dimensions are read off the weights.

    Raises:
        LabError: the weights are neither the lab's nor the course's.
    """
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
    except (KeyError, IndexError) as error:
        raise LabError(f"the weights are neither the lab's nor the course's: there is no {error}") from error


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], source: str | Path) -> None:
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
            hint = "; choose --prior as in its training" if name.startswith("Prior_Predictor") else ""
            raise LabError(f"{source} does not fit the model: {name} is {have}, expected {want}{hint}")
    model.load_state_dict(weights)


def load_model(
    path: str | Path, device: str | torch.device = "cpu", output: Literal["linear", "sigmoid"] = "linear"
) -> ConditionalVAE:
    """The model of a checkpoint (ours: the averaged weights; or the course's), in evaluation mode.

    Args:
        output: how the generator was made to end in training; weights cannot tell.

    Raises:
        LabError: the file is missing, damaged, or does not fit the model it describes.
    """
    checkpoint = read_checkpoint(path)
    cfg = checkpoint_config(checkpoint)
    largest = max(max(value.shape, default=0) for value in checkpoint["state_dict"].values())
    for name in ("width", "N_dim", "frame_H", "frame_W") if cfg.variant == "fast" else ("F_dim", "L_dim", "N_dim"):
        if getattr(cfg, name) > largest:  # seen before memory for it is taken
            raise LabError(f"{path} does not fit the model: {name} is {getattr(cfg, name)}, and no weight is so large")
    model = ConditionalVAE(cfg)
    load_weights(model, checkpoint["state_dict"], path)
    if output == "sigmoid":
        if cfg.variant != "course":
            raise LabError(f"{path} is the lab's, whose output is bounded; --output is for the course's network")
        model.Generator = nn.Sequential(model.Generator, nn.Sigmoid())  # type: ignore[assignment]
    return model.eval().to(device)
