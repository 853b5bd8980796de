"""Every setting of the lab in one frozen dataclass; the command line is generated from it.

A field's metadata holds its help text, its range, and the group it belongs to.  A command of ``python -m labutils``
shows the groups it needs, so adding a field here is all it takes to add a flag.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from labutils.errors import LabError
from labutils.rules import ANY, NOT_NEGATIVE, PART, POSITIVE, RATIO, check


def _setting(default: Any, group: str, help: str, within: str = ANY) -> Any:
    return field(default=default, metadata={"group": group, "help": help, "within": within})


@dataclass(frozen=True)
class LabConfig:
    """Settings of one run.  Flags of the course keep their spelling (``DR``, ``tfr_sde``, ``kl_anneal_type`` ...).

    Raises:
        LabError: a value is out of range; the message names the flag.
    """

    # data
    DR: str = _setting("data/dance", "data", "data root: the folder that holds train/, val/ and test/")
    frame_H: int = _setting(32, "data", "height in pixels to which images are resized, a multiple of 8", POSITIVE)
    frame_W: int = _setting(64, "data", "width in pixels to which images are resized, a multiple of 8", POSITIVE)
    train_vi_len: int = _setting(
        16, "data", "frames in a training clip: one is given, the others are predicted", "[2, 1e12)"
    )
    val_vi_len: int = _setting(630, "data", "frames of the validation video that are used", "[2, 1e12)")
    partial: float = _setting(1.0, "data", "part of the training frames to use, in (0, 1]", PART)
    num_workers: int = _setting(
        0, "data", "threads or processes that decode or render images; 0: one per core", "[0, 256]"
    )

    # model
    variant: Literal["fast", "course"] = _setting("fast", "model", "the five modules: ours (fast) or the course's own")
    F_dim: int = _setting(128, "model", "channels of a frame feature (course variant)", POSITIVE)
    L_dim: int = _setting(32, "model", "channels of a pose feature (course variant)", POSITIVE)
    N_dim: int = _setting(12, "model", "channels of the latent z", POSITIVE)
    D_out_dim: int = _setting(192, "model", "channels of the fused feature (course variant)", POSITIVE)
    posterior: Literal["frame", "innovation"] = _setting(
        "frame", "model", "q sees x_t and P_t (frame), or how x_t differs from the previous frame (innovation)"
    )
    prior: Literal["standard", "learned"] = _setting("standard", "model", "p(z): N(0, I), or learned from x_{t-1}, P_t")
    width: int = _setting(16, "model", "channels of the U-Net's first level (fast variant)", POSITIVE)

    # training
    mode: Literal["replay", "clips"] = _setting(
        "replay", "training", "clips: the assignment's 16-frame rollouts; replay: steps from replayed predictions"
    )
    num_epoch: int = _setting(
        70, "training", "passes over the data; with --steps or --minutes: equal parts", "[1, 1e6]"
    )
    steps: int | None = _setting(None, "training", "train for so many steps instead of num_epoch epochs", POSITIVE)
    minutes: float | None = _setting(None, "training", "train for this long instead of num_epoch epochs", POSITIVE)
    batch_size: int = _setting(
        2, "training", "clips in a step; replay: batch_size x (train_vi_len - 1) transitions", POSITIVE
    )
    optim: Literal["Muon", "AdamW", "Adam"] = _setting("Muon", "training", "Muon steps convolutions, AdamW the rest")
    lr: float = _setting(3e-3, "training", "peak learning rate of Adam and AdamW; Muon uses 10 times as much", POSITIVE)
    warmup: float = _setting(0.02, "training", "part of training in which the learning rate rises from 0", RATIO)
    weight_decay: float = _setting(0.2, "training", "decoupled weight decay (Muon: of the convolutions)", NOT_NEGATIVE)
    grad_clip: float = _setting(1.0, "training", "largest norm of the gradient", POSITIVE)
    ema: float = _setting(
        0.995, "training", "decay of the averaged weights, which are validated and saved; 0: none", RATIO
    )
    l1: float = _setting(0.1, "training", "weight of the mean absolute error beside the MSE", NOT_NEGATIVE)
    shift: int = _setting(
        3, "training", "replay: every second scene is moved by up to so many pixels; 0: none", NOT_NEGATIVE
    )
    sigma_x: float = _setting(
        0.3, "training", "std of p(x | z): KL weighs beta * 2 sigma_x^2 / (3 H W); beta 1 is the ELBO", POSITIVE
    )
    feedback_grad: bool = _setting(
        False, "training", "clips mode: let gradients flow through the generated previous frame"
    )
    fast_train: bool = _setting(False, "training", "start with fewer data and a larger learning rate")
    fast_partial: float = _setting(0.4, "training", "fast_train: part of the training frames used at first", PART)
    fast_train_epoch: int = _setting(5, "training", "fast_train: number of epochs that are trained so", NOT_NEGATIVE)
    fast_lr: float = _setting(2.0, "training", "fast_train: factor on the learning rate in these epochs", POSITIVE)
    per_save: int = _setting(3, "training", "write last.ckpt every so many epochs", POSITIVE)
    per_val: int = _setting(20, "training", "validate every so many epochs, and at the end", POSITIVE)
    seed: int = _setting(0, "training", "seed of weights, batches and noise", ANY)
    deterministic: bool = _setting(False, "training", "CUDA: only deterministic kernels (slower); the CPU always is")
    compile: bool = _setting(False, "training", "torch.compile the training step; pays on a GPU and in long runs")

    # schedules
    tfr: float = _setting(1.0, "schedules", "teacher-forcing ratio at the start, in [0, 1]", RATIO)
    tfr_sde: int = _setting(10, "schedules", "epoch in which the teacher-forcing ratio first decays", NOT_NEGATIVE)
    tfr_d_step: float = _setting(
        0.1, "schedules", "what the teacher-forcing ratio loses in each epoch from then on", NOT_NEGATIVE
    )
    tfr_floor: float = _setting(0.0, "schedules", "teacher-forcing ratio below which it does not fall", RATIO)
    kl_anneal_type: Literal["Cyclical", "Monotonic", "None"] = _setting("None", "schedules", "KL annealing")
    kl_anneal_cycle: int = _setting(
        10, "schedules", "number of cycles of cyclical annealing in the whole training", POSITIVE
    )
    kl_anneal_ratio: float = _setting(1.0, "schedules", "part of a cycle in which beta rises, in (0, 1]", PART)
    kl_anneal_shape: Literal["linear", "cosine", "sigmoid"] = _setting("linear", "schedules", "how beta rises")
    kl_anneal_start: float = _setting(0.0, "schedules", "beta at the start of a cycle", NOT_NEGATIVE)
    kl_anneal_stop: float = _setting(1.0, "schedules", "beta at the end of the rise", NOT_NEGATIVE)

    # where things go and what they run on
    save_root: str = _setting("outputs", "output", "folder for checkpoints, history, reports and videos")
    ckpt_path: str | None = _setting(None, "output", "checkpoint to resume, validate or test; the course's too")
    device: str = _setting("auto", "output", "auto, cpu, cuda or cuda:1; auto takes CUDA where it works")
    quiet: bool = _setting(False, "output", "no progress bars")

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            check(f"--{f.name}", getattr(self, f.name), f.type, f.metadata["within"])
        for name in ("frame_H", "frame_W"):
            if getattr(self, name) % 8:
                raise LabError(f"--{name} is {getattr(self, name)}; it must be a multiple of 8")
        if self.shift >= min(self.frame_H, self.frame_W):
            raise LabError(f"--shift is {self.shift}; it must be smaller than a frame")
        if self.steps is not None and self.minutes is not None:
            raise LabError(f"--steps {self.steps} and --minutes {self.minutes:g} are both given; choose one")

    def replace(self, **changes: Any) -> "LabConfig":
        """A copy with some settings changed; a budget among them takes the place of the present one."""
        return dataclasses.replace(self, **budget(changes))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as stored in a checkpoint."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "LabConfig":
        """The inverse of ``to_dict``; settings this version does not know are left out."""
        known = {f.name for f in dataclasses.fields(cls)}
        return cls(**{k: v for k, v in values.items() if k in known})


def budget(changes: dict[str, Any]) -> dict[str, Any]:
    """Settings in which a budget (``steps``, ``minutes``, or else ``num_epoch``) puts out the others."""
    given = [name for name in ("steps", "minutes") if changes.get(name) is not None]
    if given or "num_epoch" in changes:
        return {"steps": None, "minutes": None, **changes}
    return changes
