"""Checkpoints and the history beside them: read without executing anything, checked before they are used."""

import csv
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from labutils import contents
from labutils.config import LabConfig
from labutils.errors import LabError
from labutils.images import atomic_file
from labutils.model import ConditionalVAE

COLUMNS = ("step", "epoch", "seconds", "loss", "mse", "kl", "beta", "tfr", "lr", "val_psnr")

Row = dict[str, Any]  # one training step in the history: the keys are COLUMNS


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
    """Load weights into a model, naming the first one that does not fit; a model on "meta" is only compared.

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
    if not any(value.is_meta for value in own.values()):
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
    with torch.device("meta"):  # takes no memory
        empty = ConditionalVAE(cfg)
    load_weights(empty, checkpoint["state_dict"], path)
    model = ConditionalVAE(cfg)
    load_weights(model, checkpoint["state_dict"], path)
    if output == "sigmoid":
        model.Generator = nn.Sequential(model.Generator, nn.Sigmoid())  # type: ignore[assignment]
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
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise LabError(f"{path} cannot be read as a history ({error})") from error


def history_before(checkpoint: Path, step: int, rename: bool = True) -> tuple[list[Row], str]:
    """The rows before a step of the history beside a checkpoint, and a warning; "" where all are there.

    A history that is damaged, or that has no row where there should be one, is kept under another name.

    Args:
        rename: do so.
    """
    path = checkpoint.with_name("history.csv")
    kept = next(p for k in itertools.count(1) if not (p := path.with_name(f"history-damaged-{k}.csv")).exists())
    try:
        rows = [row for row in read_history(path) if row["step"] < step]
        if [row["step"] for row in rows] != list(range(step - len(rows), step)) or (step and not rows):
            raise LabError(f"{path} does not reach to step {step - 1}, at which {checkpoint.name} was written")
        return rows, ""
    except LabError as error:
        there = path.is_file()
        if there and rename:
            path.replace(kept)
        where = f"it is kept as {kept.name}; " if there else ""
        return [], f"{error}; {where}the history begins anew at step {step}"


def _value(name: str, text: str) -> float | None:
    return None if text == "" else int(text) if name in ("step", "epoch") else float(text)
