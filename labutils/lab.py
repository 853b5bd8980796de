"""What every notebook starts from: the profile, the data, and trained models, made on the spot where they are missing.

    from labutils import lab

    lab.begin()
    train, val = lab.videos()
    base = lab.trained("base")  # trained now, or by an earlier notebook
    lab.finish()

All lands below the project's folder, or below LAB_HOME: data sets in ``data/``, models in ``outputs/notebooks/``.
LAB_PROFILE chooses how much is made (smoke, quick, full), and LAB_DATA names a data set in the course's layout that
takes the place of the synthetic dance.
"""

import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from labutils.config import LabConfig
from labutils.dataset import load_split, load_test
from labutils.errors import LabError
from labutils.images import Video
from labutils.places import home, locked
from labutils.profiles import Profile, default_profile

if TYPE_CHECKING:
    import torch

    from labutils.checkpoint import Row
    from labutils.checks import Mine
    from labutils.model import ConditionalVAE
    from labutils.training import Trainer

T = TypeVar("T")
BASE_STEPS = {"smoke": 40, "quick": 800, "full": 8000}  # of the model that most notebooks share
PLACES = ("save_root", "ckpt_path", "num_workers", "quiet")  # settings that do not change what is learned

_began = time.perf_counter()


@dataclass(frozen=True)
class Trained:
    """A model in evaluation mode, its ``history`` (one dict for each step), and the ``folder`` of its files."""

    model: "ConditionalVAE"
    history: "list[Row]"
    folder: Path

    @property
    def seconds(self) -> float:
        """How long it was trained."""
        return self.history[-1]["seconds"]

    @property
    def val_psnr(self) -> float:
        """The last validation PSNR, in dB."""
        return next(row["val_psnr"] for row in reversed(self.history) if row["val_psnr"] is not None)


# ------------------------------------------------------------------------------------------------ begin and finish


def begin() -> None:
    """Say what this notebook runs on, and start its clock."""
    import torch

    global _began
    _began = time.perf_counter()
    print(f"profile {profile().name} · {_data_name()} · {hardware()} · torch {torch.__version__.partition('+')[0]}")


def finish() -> None:
    """Say how long this notebook took."""
    seconds = time.perf_counter() - _began
    took = f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
    print(f"This notebook took {took} · profile {profile().name} · {hardware()}")


def hardware() -> str:
    """The device and, on a CPU, the number of threads: "2 CPU threads, x86_64"."""
    import torch

    used = device()
    if used.type == "cuda":
        return torch.cuda.get_device_name(used)
    return f"{torch.get_num_threads()} CPU threads, {platform.machine()}"


def device() -> "torch.device":
    """The GPU where there is one, else the CPU."""
    from labutils.distributed import select_device

    return select_device("auto")


def profile() -> Profile:
    """The profile that LAB_PROFILE names; else ``full`` on a GPU and ``quick`` on a CPU."""
    return default_profile()


def by_profile(smoke: T, quick: T, full: T | None = None) -> T:
    """One value for each profile; ``full`` is that of ``quick`` where it is not given."""
    return {"smoke": smoke, "quick": quick, "full": quick if full is None else full}[profile().name]


# ------------------------------------------------------------------------------------------------------- the places


def outputs() -> Path:
    """Where notebooks of this profile write; the folder is made."""
    folder = home() / "outputs" / "notebooks" / profile().name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


# --------------------------------------------------------------------------------------------------------- the data


def _data_name() -> str:
    return os.environ.get("LAB_DATA") or "the synthetic dance"


def is_synthetic() -> bool:
    """Whether the data are the synthetic dance, whose hidden factor is known."""
    return not os.environ.get("LAB_DATA")


def data_root(lights: bool = False) -> Path:
    """The data set: LAB_DATA, or the profile's synthetic dance, which is rendered the first time.

    Args:
        lights: the synthetic dance under stage lights, whatever LAB_DATA says.

    Raises:
        LabError: LAB_DATA is not a folder.
    """
    if not lights and not is_synthetic():
        root = Path(os.environ["LAB_DATA"]).expanduser()
        if not root.is_dir():
            raise LabError(f"LAB_DATA is {root}, which is not a folder; name one in the layout of data/README.md")
        return root
    from labutils.dance import make_data

    p = profile()
    root = home() / "data" / f"{'lights' if lights else 'dance'}-{p.name}"
    with locked(root):
        start = time.perf_counter()
        fresh = not root.is_dir()
        if fresh:
            print(f"Rendering the synthetic dance of {p.train_frames} training frames, once …")
        make_data(root, *p.sizes, progress=False, lights=3 if lights else 0)
        if fresh:
            print(f"… done in {time.perf_counter() - start:.0f} s")
    return root


def config(**changes: Any) -> LabConfig:
    """The profile's settings, with ``changes`` on top."""
    return profile().config(**{"DR": str(data_root()), "quiet": True, **changes})


def lights(**changes: Any) -> dict[str, Any]:
    """Settings for the dance under stage lights, where it is known what z should carry, with ``changes`` on top.

    ``lab.trained("lights", **lab.lights())``; ``lab.videos(**lab.lights())``.
    """
    settings = profile().lights()
    if {"minutes", "num_epoch"} & set(changes):  # another budget
        del settings["steps"]
    return {"DR": str(data_root(lights=True)), **settings, **changes}


def videos(**changes: Any) -> tuple[Video, Video]:
    """The training and the validation video; ``changes`` such as ``partial`` or ``val_vi_len`` shorten them."""
    cfg = config(**changes)
    with locked(outputs() / "cache"):
        return load_split(cfg.DR, "train", cfg), load_split(cfg.DR, "val", cfg)


def test_videos() -> list[Video]:
    """The test sequences."""
    cfg = config()
    with locked(outputs() / "cache"):
        return load_test(cfg.DR, cfg)


def light(split: str) -> np.ndarray:
    """The hidden factor of the synthetic dance, one number for each frame, of "train", "val" or a test sequence "1" …

    Raises:
        LabError: the data are not synthetic, or there is no such part.
    """
    from labutils.dance import read_light

    if not is_synthetic():
        raise LabError("only the synthetic dance tells its hidden factor; unset LAB_DATA")
    root = data_root()
    return read_light(root / "test" / f"light_{split}.csv" if split.isdigit() else root / split / "light.csv")


# ------------------------------------------------------------------------------------------------------- the models


def trained(
    name: str = "base", callbacks: Sequence[Any] = (), fresh: bool = False, silent: bool = False, **changes: Any
) -> Trained:
    """A model trained with the profile's settings and ``changes``; trained only where these settings never were.

    Args:
        name: of the model's folder in ``outputs()``.  "base" is the model that most notebooks share.
        callbacks: for training, besides a progress line.
        fresh: train again.
        silent: show no progress, and do not say where the model is below a baseline.
        changes: settings of ``LabConfig``; without a budget among them, it trains for ``BASE_STEPS``.

    An interrupted training is taken up again where its last checkpoint lies.
    """
    import torch

    from labutils.baselines import Baselines, shortfall
    from labutils.distributed import Ranks
    from labutils.model import ConditionalVAE
    from labutils.training import fit

    if not {"steps", "minutes", "num_epoch"} & set(changes):
        changes = {"steps": BASE_STEPS[profile().name], **changes}
    cfg = config(**changes)
    told = {k: v for k, v in cfg.to_dict().items() if k not in PLACES}
    told["DR"] = Path(cfg.DR).name if is_synthetic() else cfg.DR  # the project's folder may be moved
    folder = outputs() / f"{name}-{hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]}"
    unfinished = folder.with_name(folder.name + ".unfinished")
    with locked(folder):
        if fresh:
            for old in (folder, unfinished):
                shutil.rmtree(old, ignore_errors=True)
        if not (folder / "last.ckpt").is_file():
            train, val = videos(**changes)
            torch.manual_seed(cfg.seed)
            model = ConditionalVAE(cfg)
            resume = unfinished / "last.ckpt"
            fit(
                model, train, val, cfg.replace(save_root=str(unfinished)),
                [*callbacks] if silent else [Progress(name), *callbacks],
                resume if resume.is_file() else None, Ranks(device=device()),
            )  # fmt: skip
            unfinished.replace(folder)
    found = _read(folder)
    if silent:
        return found
    train, val = videos(**changes)
    rivals = {key: float(value.mean()) for key, value in Baselines(train, poses=False).scores(val).items()}
    if short := shortfall(found.val_psnr, rivals):
        print(f"{name} is below a baseline: {short}.")
        longer = f"lab.trained({name!r}, steps={4 * len(found.history)})"
        print(f"If that is not its purpose, train for longer: {longer}, or a larger LAB_PROFILE")
    return found


def _read(folder: Path) -> Trained:
    """The model whose files lie in a folder."""
    from labutils.checkpoint import load_model, read_history

    return Trained(load_model(folder / "last.ckpt", device()), read_history(folder / "history.csv"), folder)


def mine() -> "Mine":
    """The parts of the model that the exercises grow into: the learner's own that passed, else the references."""
    from labutils.checks import Mine

    return Mine()


def keep(name: str, model: "torch.nn.Module", history: "Sequence[Row]", cfg: LabConfig) -> Trained:
    """Write a model that was not trained by ``fit`` as ``trained`` does: checkpoint and history in its own folder.

    Args:
        model: its weights must have the names and shapes of the lab's model with the settings ``cfg``.

    Raises:
        LabError: they have not.
    """
    import torch

    from labutils.checkpoint import load_weights, write_history
    from labutils.files import atomic_file
    from labutils.model import ConditionalVAE

    weights = {key: value.detach().cpu() for key, value in model.state_dict().items()}
    load_weights(ConditionalVAE(cfg), weights, f"the model {name!r}")
    folder = outputs() / name
    folder.mkdir(exist_ok=True)
    with atomic_file(folder / "last.ckpt") as file:
        torch.save({"state_dict": weights, "config": cfg.to_dict()}, file)
    write_history(folder / "history.csv", history)
    return _read(folder)


def own_model(name: str = "mine") -> Trained:
    """The model that the learner trained in notebook 06; else "base", and it says so."""

    folder = outputs() / name
    if not (folder / "last.ckpt").is_file():
        print("Your own model is not trained yet (notebook 06); here is the lab's, `base`.")
        return trained("base")
    print(f"Your own model, trained in notebook 06: {folder.name}/last.ckpt")
    return _read(folder)


class Progress:
    """Callback of ``fit``: one line that a notebook keeps up to date, with a bar while it lasts."""

    def __init__(self, name: str = "model", every: float = 0.5):
        self.name, self.every = name, every
        self.handle, self.shown = None, 0.0

    def __call__(self, event: str, trainer: "Trainer") -> None:
        now = time.perf_counter()
        if event == "start":
            self.shown = 0.0
        if event == "end":
            self._show(self._end(trainer), None)
        elif now - self.shown >= self.every:
            self.shown = now
            budget = trainer.budget
            left = budget.seconds * (budget.length / max(budget.position, 1e-9) - 1) if budget.position else 0.0
            text = f"training {self.name}: {budget.position / budget.length:.0%}"
            if trainer.history:
                text += f", mse {trainer.history[-1]['mse']:.5f}, {left:.0f} s left"
            self._show(text, budget.position / budget.length)

    def _end(self, trainer: "Trainer") -> str:
        text = f"trained {self.name}: {trainer.budget.step} steps in {trainer.budget.seconds:.0f} s"
        psnr = trainer.history[-1]["val_psnr"] if trainer.history else None
        return text if psnr is None else f"{text}, validation PSNR {psnr:.2f} dB"

    def _show(self, text: str, part: float | None) -> None:
        """Display or update the line; outside a notebook only the last one is printed."""
        from IPython import get_ipython
        from IPython.display import display

        if get_ipython() is None:
            if part is None:
                print(text)
            return
        bar = "" if part is None else f'<progress value="{part:.4f}" style="width:16em"></progress> '
        data = {"text/plain": text, "text/html": f'<span style="font-family:monospace">{bar}{text}</span>'}
        if self.handle is None:
            self.handle = display(data, raw=True, display_id=True)
        else:
            self.handle.update(data, raw=True)
