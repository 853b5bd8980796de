"""What a checkpoint holds: read without executing anything, and brought into one form, whoever wrote it.

Students of the course write their weights in several ways: under "state_dict", "model_state_dict" or another name,
bare, from DataParallel or torch.compile, in half precision, beside numpy numbers.  What is not the weights of a
network, or not of the type and in the range that is declared here, is refused by name.
"""

import argparse
import codecs
import hashlib
import io
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labutils.errors import LabError
from labutils.files import atomic_file, regular
from labutils.rules import NOT_NEGATIVE, check

NUMBERS: dict[str, tuple[Any, str]] = {
    "step": (int, NOT_NEGATIVE), "seconds": (float, NOT_NEGATIVE), "best_psnr": (float, "[-inf, 1e12)"),
    "epoch": (int, NOT_NEGATIVE), "last_epoch": (int, "[-1, 1e12)"),
}  # fmt: skip
WEIGHTS = ("state_dict", "model_state_dict", "model", "net", "weights")  # names that they are found under
PREFIXES = ("module.", "_orig_mod.", "model.")  # DataParallel's, torch.compile's, a Lightning module's
MOMENTS = {"Muon": {"momentum"}, "Adam": {"step", "exp_avg", "exp_avg_sq"}, "AdamW": {"step", "exp_avg", "exp_avg_sq"}}


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """How pickle stores bytes for old readers; no other codec is looked up."""
    if encoding != "latin1":
        raise ValueError(encoding)
    return codecs.latin_1_encode(text)[0]


# Numpy numbers and a parser's flags hold plain values; to make them executes nothing else.
_SCALAR = np.float64(0).__reduce__()[0]
SAFE: list[Any] = [
    (_SCALAR, "numpy._core.multiarray.scalar"), (_SCALAR, "numpy.core.multiarray.scalar"), (_encode, "_codecs.encode"),
    np.dtype, *(type(np.dtype(code)) for code in "?bBhHiIlLqQefd"), argparse.Namespace,
]  # fmt: skip


def read(path: Path) -> dict[str, Any]:
    """A checkpoint in the lab's form: ``state_dict``, numbers and settings, checked; and what a resume checks.

    Raises:
        LabError: it is missing, damaged, or holds no weights of a network.
    """
    if not os.path.lexists(path):
        raise LabError(f"the checkpoint {path} is missing")
    regular(path)
    found = _loaded(path)
    if not isinstance(found, dict):
        raise LabError(f"{path} is no checkpoint: it holds a {type(found).__name__}, expected a dict with state_dict")
    name = next((n for n in WEIGHTS if n in found), None)
    if name is None and not (found and all(isinstance(value, Tensor) for value in found.values())):
        shown = ", ".join(str(key)[:30] for key in list(found)[:6]) or "nothing"
        raise LabError(f"{path} is no checkpoint: it holds no state_dict, but {shown}")
    checkpoint = {"state_dict": network(found[name] if name else found, path)}
    config = found.get("config")
    if isinstance(config, dict) and "variant" in config:  # the lab's
        names = ("config", "weights", "optimizer", "replayed")
        checkpoint |= {key: found[key] for key in names if key in found}
    for key in found.keys() & NUMBERS.keys() if name else ():
        value = found[key]
        if isinstance(value, np.generic) or (isinstance(value, Tensor) and value.numel() == 1):
            value = value.item()
        check(f"{path} is damaged: {key}", value, *NUMBERS[key])
        checkpoint[key] = value
    return checkpoint


def _loaded(path: Path) -> Any:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(SAFE):
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for a damaged or foreign file
        other = re.search(r"(?:GLOBAL|global|class|function) `?([\w.]+\.[\w.]+)", str(error))
        if isinstance(error, OSError) and error.filename:
            reason = str(error.strerror)
        elif other:
            reason = f"it holds {other[1]}, which would be executed; write torch.save(model.state_dict(), path) instead"
        else:
            reason = "damaged, or not written by torch.save" if path.stat().st_size else "it is empty"
    raise LabError(f"{path} cannot be read as a checkpoint: {reason}")


def network(weights: Any, source: str | Path) -> dict[str, Tensor]:
    """The weights of a network, name -> finite tensor, in float32 and without the prefix of a wrapper.

    Raises:
        LabError: they are something else, which is named.
    """
    if not isinstance(weights, Mapping) or not weights:
        raise LabError(f"{source}: the weights are {type(weights).__name__}, expected names and tensors")
    plain = {}
    for name, value in weights.items():
        if not isinstance(name, str) or not _plain(value):
            what = "not finite, or of an odd kind" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise LabError(f"{source}: the weight {str(name)[:60]!r} is {what}; expected finite numbers")
        plain[name] = value.detach().float() if value.is_floating_point() else value.detach()
    while prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in plain)), None):
        plain = {name.removeprefix(prefix): value for name, value in plain.items()}
    return plain


def _plain(value: Any) -> bool:
    """Whether a value is a tensor of finite numbers in memory."""
    usual = isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"
    return usual and not value.is_quantized and not value.is_complex() and bool(value.isfinite().all())


def load_moments(optimizer: torch.optim.Optimizer, state: Any, source: str | Path) -> None:
    """Give an optimizer the moments of a checkpoint; rates and weight decay stay its own.

    Raises:
        LabError: they are not the moments of its weights.
    """
    own, kind = optimizer.state_dict()["param_groups"], type(optimizer).__name__
    params = [p for group in optimizer.param_groups for p in group["params"]]
    moments = state.get("state") if isinstance(state, dict) else None
    good = isinstance(moments, dict) and all(
        type(k) is int and 0 <= k < len(params) and isinstance(values, dict) and values.keys() == MOMENTS[kind]
        and all(_plain(v) and v.shape == (() if name == "step" else params[k].shape) for name, v in values.items())
        for k, values in moments.items()
    )  # fmt: skip
    if not good:
        raise LabError(f"{source} is damaged: the state of {kind} does not fit the model's weights")
    optimizer.load_state_dict({"state": moments, "param_groups": own})


# ---------------------------------------------------------------------------------------------------- replayed frames

Replayed = list[str]  # the file that lies beside a checkpoint, and its SHA-256


def frames_beside(folder: Path, step: int, frames: np.ndarray) -> Replayed:
    """Write the replayed frames of a step; what a checkpoint has to say of them."""
    content = io.BytesIO()
    np.save(content, frames)
    name = f"replayed-{step}.npy"
    with atomic_file(folder / name) as file:
        file.write(content.getbuffer())
    return [name, hashlib.sha256(content.getbuffer()).hexdigest()]


def clear_frames(folder: Path, keep: Replayed | None) -> None:
    """Remove the replayed frames of other steps."""
    for path in folder.glob("replayed-*.npy"):
        if keep is None or path.name != keep[0]:
            path.unlink(missing_ok=True)


def read_frames(checkpoint: Path, replayed: Any) -> tuple[np.ndarray | None, str]:
    """The replayed frames that belong to a checkpoint, and a warning where they are not there.

    Raises:
        LabError: ``replayed`` is none that the lab writes.
    """
    if replayed is None:
        return None, ""
    good = isinstance(replayed, list) and len(replayed) == 2 and all(isinstance(part, str) for part in replayed)
    if not good or not re.fullmatch(r"replayed-\d+\.npy", replayed[0]):
        raise LabError(f"{checkpoint} is damaged: replayed is {str(replayed)[:60]!r}, expected a file and its hash")
    path = checkpoint.with_name(replayed[0])
    try:
        content = path.read_bytes()
    except OSError as error:
        what = f"{path} cannot be read ({error.strerror})"
    else:
        if hashlib.sha256(content).hexdigest() == replayed[1]:
            return np.load(io.BytesIO(content), allow_pickle=False), ""
        what = f"{path} does not belong to {checkpoint.name}"
    return None, f"{what}; true frames are replayed at first, so this run differs a little from one without a break"
