"""How much memory a training needs, before any of it is taken: a mistyped width is told at once."""

import warnings

import torch
from torch import Tensor

from labutils import machine
from labutils.batches import Batch
from labutils.config import LabConfig
from labutils.errors import LabError
from labutils.model import ConditionalVAE
from labutils.training import Objective

COPIES = 5  # of the weights: themselves, their gradients, their average, two moments
SAMPLE = 16  # frames of a clip that are tried out; longer ones need as much more


def training_memory(cfg: LabConfig) -> int:
    """Bytes that a training step takes: weights, moments, and what the backward pass keeps of the forward one.

    One clip goes through the model on torch's "meta" device, where tensors have shapes but no memory.
    """
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    replay = cfg.mode == "replay"
    T = 2 if replay else min(cfg.train_vi_len, SAMPLE)
    with torch.device("meta"), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model = ConditionalVAE(cfg)
        frames = torch.empty(1, T, 3, cfg.frame_H, cfg.frame_W)
        teacher, eps = torch.zeros(1, T - 1, dtype=torch.bool, device="cpu"), torch.empty(1, T - 1, *model.latent_shape)
        Objective(model, cfg)(Batch(frames, frames, teacher, eps), 1.0)
    weights = sum(p.nbytes for p in model.parameters())
    own = {p.untyped_storage()._cdata for p in model.parameters()}
    clip = sum(tensor.untyped_storage().nbytes() for key, tensor in kept.items() if key not in own)
    return COPIES * weights + clip * cfg.batch_size * (cfg.train_vi_len - 1) // (T - 1)


def there(device: torch.device) -> int:
    """Bytes of memory of a device: all of a GPU's, or what the machine or its container lets a process have."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    return machine.memory()


def check_memory(cfg: LabConfig, device: torch.device, world: int = 1) -> None:
    """Nothing where a training fits into memory.

    Raises:
        LabError: it would not, and what it would take.
    """
    names = ("width", "N_dim") if cfg.variant == "fast" else ("F_dim", "L_dim", "N_dim", "D_out_dim")
    channels = {name: getattr(cfg, name) for name in names}
    values = cfg.batch_size * cfg.train_vi_len * cfg.frame_H * cfg.frame_W * sum(channels.values())
    if 400 * values + 4000 * sum(channels.values()) ** 2 < there(device):  # more than any of our networks takes
        return  # torch's "meta" device takes seconds to start
    given = dict(batch_size=cfg.batch_size, frame_H=cfg.frame_H, frame_W=cfg.frame_W, **channels)
    text = " ".join(f"--{name} {value}" for name, value in given.items())
    try:
        with warnings.catch_warnings(action="ignore"):
            need = training_memory(cfg) // world // (2 if device.type == "cuda" else 1)  # bfloat16
    except (RuntimeError, OverflowError, ValueError, TypeError) as error:  # a size that no tensor can have
        raise LabError(f"no machine has the memory for {text}; choose smaller ones") from error
    if need > there(device):
        sizes = f"about {need / 2**30:,.0f} GiB; this {device.type} has {there(device) / 2**30:,.0f} GiB"
        raise LabError(f"training with {text} takes {sizes}: choose smaller ones")
