"""One process or several: what torchrun sets up, in the few calls that training needs.

Every rank draws the whole global batch from the same seeded generator and keeps its own slice, so N processes compute
what one does.  Small facts (how far training has come, whether to stop) travel over gloo on the CPU and never wait for
a GPU.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor

from labutils.errors import LabError

DEVICES = ("cpu", "cuda", "mps", "xpu")  # those that train; torch knows more


@dataclass(frozen=True)
class Ranks:
    """This process's place among those of one training: ``rank`` of ``world``, and its device."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def share(self, batch: int) -> slice:
        """This rank's part of a global batch.

        Raises:
            LabError: the batch cannot be divided evenly.
        """
        if batch % self.world:
            raise LabError(f"a batch of {batch} cannot be divided among {self.world} processes; change --batch_size")
        size = batch // self.world
        return slice(self.rank * size, (self.rank + 1) * size)

    def gather(self, part: Tensor) -> Tensor:
        """Put the parts of all ranks together again, (batch / world, ...) -> (batch, ...)."""
        if self.world == 1:
            return part
        whole = part.new_empty((self.world * len(part), *part.shape[1:]))
        dist.all_gather_into_tensor(whole, part.contiguous())
        return whole

    def mean(self, values: Tensor) -> Tensor:
        """The mean over ranks."""
        if self.world > 1:
            dist.all_reduce(values)
            values /= self.world
        return values

    def agree(self, *values: float) -> tuple[float, ...]:
        """The first rank's values, on every rank (float64, over gloo)."""
        if self.world == 1:
            return values
        shared = torch.tensor(values, dtype=torch.float64)
        dist.broadcast(shared, src=0)
        return tuple(shared.tolist())


def select_device(name: str) -> torch.device:
    """ "auto" takes CUDA where it works, else the CPU.

    Raises:
        LabError: the device is unknown or not available.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind not in DEVICES or not ((number.isascii() and number.isdigit() and len(number) < 4) or name == kind):
        raise LabError(f"--device {name!s:.40} is not available: unknown; choose cpu, cuda, cuda:1 or auto")
    try:
        device = torch.device(name if kind != "cpu" else kind)
        if kind != "cpu":
            torch.empty(1, device=device)
    except Exception as error:  # each of them raises another type where it is not there
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise LabError(f"--device {name} is not available ({reason}); choose cpu, cuda or auto") from error
    if device.type == "cpu":
        torch.set_flush_denormal(True)  # tiny numbers cost 10 times as much as others
    return device


@contextlib.contextmanager
def ranks(device: str) -> Iterator[Ranks]:
    """The ranks that torchrun started, or the only one; leaves the process group at the end."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Ranks(device=select_device(device))
        return
    chosen = select_device(device)
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
        torch.cuda.set_device(chosen)
    dist.init_process_group("cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Ranks(dist.get_rank(), world, chosen)
    finally:
        dist.destroy_process_group()
