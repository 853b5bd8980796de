"""Reading what is there, and looking for each finding."""

import ast
import csv
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from labutils import contents
from labutils.checkpoint import load_model
from labutils.config import LabConfig
from labutils.dataset import load_split, load_test
from labutils.doctor import networks, pictures, series, source
from labutils.doctor.findings import CATALOGUE, LOOKS, NEEDS, Case, Finding
from labutils.errors import LabError
from labutils.rules import check

__all__ = ["examine", "networks", "source"]  # these two are imported for the looks that they register
CHECKPOINTS = (".ckpt", ".pt", ".pth", ".bin")
FRAMES = 20  # that the course's network, slow on a CPU, is judged by
MANY = 50_000_000  # bytes of a text that is read


def examine(
    path: Path, DR: Path | None = None, psnr: float | None = None, output: Literal["linear", "sigmoid"] = "linear",
) -> tuple[Case, list[Finding], dict[str, str]]:  # fmt: skip
    """Look for every finding that what is known allows.

    Args:
        path: a checkpoint, a history, a submission, a psnr.json, a Python file, or a folder of them.
        DR: data root.
        psnr: the validation PSNR that was reported; default: the best of the history or the lab's checkpoint.
        output: as in ``load_model``.

    Returns:
        What was read, what was found, and for each finding that was not looked for what that needs.

    Raises:
        LabError: the file is missing, or of none of these kinds.
    """
    check("PATH", str(path), str)
    check("--psnr", psnr, float | None)
    case = Case()
    root = Path(path)
    if not root.exists():
        raise LabError(f"{root} is missing; give a checkpoint, a history, a submission, or the folder of a run")
    if root.is_dir():
        _read_folder(case, root, output)
    else:
        _read(case, root, output, must=True)
    if DR is None and root.is_dir() and (root / "train" / "train_img").is_dir():
        DR = root
    if DR is not None:
        _read_data(case, DR)
    if not case.seen:
        raise LabError(f"{root} holds no checkpoint, history, psnr.json, submission, Python file or data set")
    best = [row["val_psnr"] for row in case.history or [] if "val_psnr" in row]
    case.psnr = psnr if psnr is not None else max(best, default=case.psnr)
    return case, *_look(case)


def _look(case: Case) -> tuple[list[Finding], dict[str, str]]:
    found: dict[str, list[str]] = {}
    missing: dict[str, list[str]] = {}
    done = set()
    for name, needs, function in LOOKS:
        lacks = [NEEDS[field] for field in needs if getattr(case, field) is None]
        if lacks:
            missing.setdefault(name, []).append(" and ".join(dict.fromkeys(lacks)))
            continue
        done.add(name)
        if evidence := function(case):
            found.setdefault(name, []).append(evidence)
    findings = [Finding(name, "; ".join(found[name])) for name in CATALOGUE if name in found]
    return findings, {name: ", or ".join(dict.fromkeys(missing[name])) for name in CATALOGUE if name not in done}


# ------------------------------------------------------------------------------------------------- what is there


def _read_folder(case: Case, root: Path, output: Literal["linear", "sigmoid"]) -> None:
    files = _files(root)
    weights = [file for file in files if file.suffix in CHECKPOINTS]
    preferred = {"best.ckpt": 2, "last.ckpt": 1}
    weights.sort(key=lambda file: (preferred.get(file.name, 0), file.stat().st_mtime))
    for file in [*weights[-1:], *(f for f in files if f.suffix in (".csv", ".json", ".log", ".txt", ".py"))]:
        _read(case, file, output, must=file in weights)


def _files(root: Path) -> list[Path]:
    """Files of a folder and its folders, two deep; not those of earlier runs, of images or of installed packages."""
    found = []
    for folder in [root, *sorted(root.glob("*/")), *sorted(root.glob("*/*/"))]:
        parts = folder.relative_to(root).parts
        if any(p.startswith((".", "_", "previous-")) or p in ("venv", "site-packages", "labutils") for p in parts):
            continue
        if folder.is_dir():
            found += sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith("."))
    return found


def _read(case: Case, file: Path, output: Literal["linear", "sigmoid"], must: bool) -> None:
    """Add one file to the case; one of another kind is passed over, or refused where it ``must`` be of one."""
    if not file.is_file():
        raise LabError(f"{file} is no file and no folder")
    if file.suffix in CHECKPOINTS or (must and _is_archive(file)):
        case.model, checkpoint = load_model(file, output=output), contents.read(file)
        if "config" in checkpoint:
            case.psnr = checkpoint.get("best_psnr")
        elif "lr" in (notes := _notes(file)) and "last_epoch" in notes:
            case.notes = notes
        case.seen.append(f"{file} (checkpoint, variant {case.model.cfg.variant})")
        return
    if file.stat().st_size > MANY and not _is_submission(file):
        return
    if file.suffix == ".py":
        _read_code(case, file)
    elif file.name.endswith("psnr.json") or (file.suffix == ".json" and '"psnr_per_frame"' in _text(file)):
        _read_report(case, file)
    elif file.suffix == ".csv" and _is_submission(file):
        case.predictions = pictures.read_values(file)
        case.seen.append(f"{file} (submission of {len(case.predictions)} frames)")
    elif rows := series.read_series(file):
        if case.history is None or file.name == "history.csv":
            case.history = rows
            case.seen.append(f"{file} (history of {len(rows)} rows)")
    if must and not case.seen:
        kinds = "checkpoint, history (columns such as epoch, loss, mse, kl, beta, tfr, lr, psnr), psnr.json, submission"
        raise LabError(f"{file} is nothing that can be judged; expected a {kinds}, a Python file, or a folder of them")


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")


def _is_archive(file: Path) -> bool:
    with file.open("rb") as content:
        return content.read(2) in (b"PK", b"\x80\x02")


def _is_submission(file: Path) -> bool:
    try:
        with file.open(encoding="utf-8", errors="replace") as content:
            return content.readline().replace(" ", "").startswith("id,0,1,2,")
    except (OSError, csv.Error):
        return False


def _read_code(case: Case, file: Path) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(_text(file))
    except (SyntaxError, ValueError, RecursionError):
        return
    case.code = {**(case.code or {}), file.name: tree}
    case.seen.append(f"{file} (code)")


def _read_report(case: Case, file: Path) -> None:
    try:
        report = json.loads(_text(file))
    except (ValueError, RecursionError):
        return
    case.reports = {**(case.reports or {}), f"{file.parent.name}/{file.name}": report}
    case.seen.append(f"{file} (scores)")


def _notes(file: Path) -> dict[str, float]:
    """The epoch and the rate, which is a list in some, that stand beside a checkpoint's weights."""
    with torch.serialization.safe_globals(contents.SAFE):
        raw = torch.load(file, map_location="cpu", weights_only=True)  # read whole, and checked, just now
    notes = {}
    for name in ("lr", "last_epoch"):
        value = raw.get(name)
        value = value[0] if isinstance(value, (list, tuple)) and value else value
        if isinstance(value, (int, float, np.number)):
            notes[name] = float(value)
    return notes


def _read_data(case: Case, DR: Path) -> None:
    cfg = (case.model.cfg if case.model is not None else LabConfig()).replace(
        DR=str(DR), quiet=True, partial=1.0, train_vi_len=2, val_vi_len=10**6
    )
    if not Path(DR).is_dir():
        raise LabError(f"the data root {DR} is missing; give the folder that holds train/, val/ and test/ with --DR")
    splits: Sequence[str] = [split for split in ("train", "val") if (Path(DR) / split).is_dir()]
    if not splits and not (Path(DR) / "test").is_dir():
        raise LabError(f"{DR} is no data root; it must hold train/, val/ or test/")
    for split in splits:
        setattr(case, split, load_split(DR, split, cfg))
    if case.predictions is not None and (Path(DR) / "test").is_dir():
        case.test = load_test(DR, cfg)
    if case.val is not None and cfg.variant == "course" and len(case.val.frames) > FRAMES:
        case.val = case.val.part(0, FRAMES)
    case.seen.append(f"{DR} (data: {', '.join(splits) or 'test'})")
