"""The history of a training as a CSV file: one row for each step."""

import csv
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from labutils.errors import LabError
from labutils.files import atomic_file

COLUMNS = ("step", "epoch", "seconds", "loss", "mse", "kl", "beta", "tfr", "lr", "val_psnr")

Row = dict[str, Any]  # one training step in the history: the keys are COLUMNS


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
