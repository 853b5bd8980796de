"""Checkpoints and the history beside them: read without executing anything, checked before they are used."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from labutils.config import LabConfig
from labutils.errors import LabError
from labutils.images import atomic_file
from labutils.model import ConditionalVAE

COLUMNS = ("step", "epoch", "seconds", "loss", "mse", "kl", "beta", "tfr", "lr", "val_psnr")

Row = dict[str, Any]  # one training step in the history: the keys are COLUMNS


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
    except KeyError as error:
        raise LabError(f"the checkpoint is neither the lab's nor the course's: it holds no {error}") from error


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


def load_model(path: str | Path, device: str | torch.device = "cpu") -> ConditionalVAE:
    """The model of a checkpoint (ours: the averaged weights; or the course's), in evaluation mode.

    Raises:
        LabError: the file is missing, damaged, or does not fit the model it describes.
    """
    checkpoint = read_checkpoint(path)
    model = ConditionalVAE(checkpoint_config(checkpoint))
    load_weights(model, checkpoint["state_dict"], path)
    return model.eval().to(device)


# ----------------------------------------------------------------------------------------------------------- history


def write_history(path: str | Path, history: Sequence[Row]) -> None:
    """Write the history as CSV; ``val_psnr`` is empty in steps without validation.

    Raises:
        LabError: the file cannot be written.
    """
    with atomic_file(path) as file:
        cells = [["" if row[name] is None else repr(row[name]) for name in COLUMNS] for row in history]
        lines = [",".join(row) for row in [COLUMNS, *cells]]
        file.write(("\n".join(lines) + "\n").encode())


def read_history(path: str | Path) -> list[Row]:
    """The inverse of ``write_history``.

    Raises:
        LabError: the file is missing or has other columns.
    """
    try:
        with open(path, newline="") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise LabError(f"{path} is no history: its columns are {reader.fieldnames}, expected {list(COLUMNS)}")
            return [{name: _value(name, text) for name, text in row.items()} for row in reader]
    except (OSError, ValueError, TypeError) as error:
        raise LabError(f"{path} cannot be read as a history ({error})") from error


def _value(name: str, text: str) -> float | None:
    return None if text == "" else int(text) if name in ("step", "epoch") else float(text)
