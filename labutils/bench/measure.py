"""The cases of the benchmark; each is measured in a process of its own."""

import contextlib
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labutils.bench.starter import FrameByFrame, StarterCode, same_mathematics
from labutils.commands import train_model
from labutils.config import LabConfig
from labutils.dataset import load_split, load_test
from labutils.distributed import Ranks, select_device
from labutils.errors import LabError
from labutils.evaluation import predict
from labutils.flop import count_flop
from labutils.images import Video
from labutils.metrics import psnr
from labutils.model import ConditionalVAE
from labutils.profiles import PROFILES, Profile
from labutils.training import Trainer

WAYS = ("starter", "course", "fast")
TARGETS = (25.0, 36.0)  # dB; the second is looked for on CUDA only
BUDGETS = (2 / 9, 4 / 9, 1)  # parts of --minutes: 20, 40 and 90 s of 1.5 minutes
SNAPSHOTS = 12  # copies of the weights during a training, in which the targets are looked for
LIMITS = {"H100": 989, "H200": 989, "A100": 312}  # dense bfloat16 TFLOP/s, from the data sheets (SXM cards)
SWEEPS = {  # setting of ours -> what is measured; the other settings stay
    "frames": (1260, 5040, 20160),
    "train_vi_len": (4, 8, 16, 32),
    "width": (16, 32, 48, 64),
    "batch_size": (1, 2, 4, 8),
}
TINY = dict(F_dim=16, L_dim=8, N_dim=4, D_out_dim=16, width=8, train_vi_len=4)  # with --quick

Spec = dict[str, Any]  # what a case is to measure: case, way, DR, device, quick, seed, seconds ...


def profile_of(spec: Spec) -> Profile:
    return PROFILES["smoke" if spec["quick"] else "quick" if spec["device"] == "cpu" else "full"]


def configure(spec: Spec, **changes: Any) -> LabConfig:
    """The settings of a case: ours are the profile's, those of the course's architecture the starter code's."""
    common = dict(DR=spec["DR"], device=spec["device"], seed=spec["seed"], quiet=True)
    common |= dict(per_save=10**9, per_val=10**9)  # nothing but training in the training's time
    settings = profile_of(spec).settings if spec["way"] == "fast" else same_mathematics(LabConfig())
    return LabConfig(**{**settings, **common, **(TINY if spec["quick"] else {})}).replace(**changes)


def build(spec: Spec, cfg: LabConfig, data: Video | None = None, callbacks: Any = ()) -> Any:
    """The ``StarterCode`` or ``Trainer`` of a case, with a new model."""
    device = select_device(spec["device"])
    torch.manual_seed(cfg.seed)
    model = ConditionalVAE(cfg)
    if spec["way"] == "starter":
        return StarterCode(model, cfg.replace(num_workers=0 if spec["quick"] else min(4, _cores())), device)
    if spec["way"] == "course":
        model.label_transformation = FrameByFrame(model.label_transformation, cfg.batch_size)
    data = data or load_split(cfg.DR, "train", cfg)
    return Trainer(model, data, None, cfg, callbacks, Ranks(device=device))


def one_step(trainer: Any, tfr: float) -> None:
    """A training step outside of ``fit``; the frames that are fed back are all true (``tfr`` 1) or generated (0)."""
    if isinstance(trainer, StarterCode):
        trainer.step(tfr)
    else:
        trainer.step(beta=0.0, tfr=tfr)


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_steps(trainer: Any, tfr: float, seconds: float) -> list[float]:
    """Seconds of a step, measured at least 3 times after a warm-up; on CUDA each is the mean of 10 steps."""
    block = 10 if trainer.device.type == "cuda" else 1
    times: list[float] = []
    while len(times) < 4 or block * sum(times[1:]) < seconds:  # the first one is the warm-up
        wait_for(trainer.device)
        began = time.perf_counter()
        for _ in range(block):
            one_step(trainer, tfr)
        wait_for(trainer.device)
        times.append((time.perf_counter() - began) / block)
    return times[1:]


def speed(spec: Spec) -> dict[str, Any]:
    """Frames per second, the share of a step that is spent on getting the batch, memory, and operations."""
    cfg = configure(spec)
    trainer = build(spec, cfg)
    source = trainer if spec["way"] == "starter" else trainer.batches
    draw, waits = source.draw, []

    def timed(*args: Any) -> Any:
        wait_for(trainer.device)
        began = time.perf_counter()
        batch = draw(*args)
        wait_for(trainer.device)
        waits.append(time.perf_counter() - began)
        return batch

    result: dict[str, Any] = {"fed": {}}
    per_step = cfg.batch_size * (cfg.train_vi_len - 1)
    for fed, tfr in (("own", 0.0), ("true", 1.0)) if cfg.mode == "clips" else (("replay", 0.0),):
        if trainer.device.type == "cuda":  # without the stops of the stopwatch
            times = time_steps(trainer, tfr, spec["seconds"])
        source.draw = timed
        waits.clear()
        watched = time_steps(trainer, tfr, spec["seconds"])
        source.draw = draw
        step = statistics.median(times if trainer.device.type == "cuda" else watched)
        share = statistics.median(waits) / statistics.median(watched)
        parts = {"step_s": step, "wait_s": share * step, "compute_s": (1 - share) * step, "wait_share": share}
        result["fed"][fed] = {"frames_per_s": per_step / step, **parts}
    unit = 2**20 if sys.platform == "darwin" else 2**10  # of ru_maxrss, in a megabyte
    result["memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    result["cuda_memory_mb"] = torch.cuda.max_memory_allocated() / 2**20 if trainer.device.type == "cuda" else None
    if spec["count"]:
        plain = build(spec, cfg.replace(compile=False))
        for fed, values in result["fed"].items():
            flop = count_flop(partial(one_step, plain, float(fed == "true")))
            values |= {"gflop_per_frame": flop / per_step / 1e9, "tflop_per_s": flop / values["step_s"] / 1e12}
    return result


def learn(spec: Spec) -> dict[str, Any]:
    """Train for ``spec["seconds"]``; score the final weights, and earlier ones until the targets are reached."""
    cfg = configure(spec, minutes=spec["seconds"] / 60)
    copies: list[tuple[float, dict[str, torch.Tensor]]] = []
    videos, val = _scored(spec, cfg)

    def keep(event: str, trainer: Trainer) -> None:
        due = trainer.budget.seconds >= spec["seconds"] * (len(copies) + 1) / SNAPSHOTS
        if event == "epoch" and due and not _slow(spec):
            weights = {name: value.clone() for name, value in trainer.averaged.state_dict().items()}
            copies.append((trainer.budget.seconds, weights))

    with tempfile.TemporaryDirectory() as folder:
        trainer = build(spec, cfg.replace(save_root=folder), callbacks=[keep])
        if spec["way"] == "starter":
            network, steps, began = trainer.model, 0, time.perf_counter()
            while (trained := time.perf_counter() - began) < spec["seconds"]:
                trainer.step()
                wait_for(trainer.device)
                steps += 1
        else:
            trainer.fit()
            network, steps, trained = trainer.averaged, trainer.budget.step, trainer.budget.seconds
    final = _score(network, videos)
    val_psnr, curve = _score(network, val), []
    targets = TARGETS if trainer.device.type == "cuda" else TARGETS[:1]
    for seconds, weights in copies:
        network.load_state_dict(weights)
        curve.append((seconds, _score(network, videos)))
        if (curve[-1][1] or 0) >= max(targets):
            break
    curve.append((trained, final))
    reached = {f"{t:g}": next((s for s, value in curve if (value or 0) >= t), None) for t in targets}
    counts = {"trained_s": trained, "steps": steps, "sequences": len(videos)}
    return {**counts, "psnr": final, "val_psnr": val_psnr, "seconds_to": reached, "curve": curve}


def _slow(spec: Spec) -> bool:
    """Whether the network is too slow to predict every test sequence, or at several times of its training."""
    return spec["device"] == "cpu" and spec["way"] != "fast"


def _scored(spec: Spec, cfg: LabConfig) -> tuple[list[Video], list[Video]]:
    """The videos of the main score (test, or validation where no truth is known), and of the validation score."""
    val, stop = [load_split(cfg.DR, "val", cfg)], 40 if spec["quick"] else None
    tests = [video for video in load_test(cfg.DR, cfg) if video.has_truth] or val
    if _slow(spec):
        tests, val = tests[:1], []
    return [video.part(0, stop) for video in tests], [video.part(0, stop) for video in val]


def _score(network: ConditionalVAE, videos: list[Video]) -> float | None:
    """Mean PSNR in dB; None where there is no video, or a prediction is not finite."""
    try:
        pairs = zip(predict(network, videos) if videos else [], videos)
    except LabError:
        return None
    values = [float(psnr(p[1:], video.frames[1:]).mean()) for p, video in pairs]
    return statistics.fmean(values) if values else None


def growth(spec: Spec) -> dict[str, Any]:
    """Seconds of a step of ours over its settings (clip length: rollouts of own frames), and of a test rollout."""
    cfg = configure(spec)
    steps: dict[str, list[tuple[int, float]]] = {name: [] for name in SWEEPS}
    train = load_split(cfg.DR, "train", cfg)
    for name, values in SWEEPS.items():
        for value in values[:2] if spec["quick"] else values:
            index = np.arange(value if name == "frames" else len(train.frames)) % len(train.frames)
            data = Video("train", train.frames[index], train.labels[index])
            changes: dict[str, Any] = {} if name == "frames" else {name: value}
            changes |= {"mode": "clips"} if name == "train_vi_len" else {}
            trainer = build(spec, cfg.replace(**changes), data)
            steps[name].append((value, statistics.median(time_steps(trainer, 0.0, spec["seconds"]))))
    videos = [video.part(0, 40 if spec["quick"] else None) for video in load_test(cfg.DR, cfg)[:6]]
    trainer, began = build(spec, cfg, train), time.perf_counter()
    frames = max(len(p) for p in predict(trainer.averaged, videos)) - 1
    return {"step_s": steps, "rollout": {"s": time.perf_counter() - began, "sequences": len(videos), "frames": frames}}


def start(spec: Spec) -> dict[str, Any]:
    """Seconds from the start of a process to the end of the first step of the command ``train``; data are cached."""
    ended: list[float] = []

    def note(event: str, trainer: Trainer) -> None:
        if event == "log":  # the losses have been read: the device has done its step
            ended.append(time.time())

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        train_model(configure(spec, save_root=folder, steps=1), [note])
    return {"start_s": ended[0] - spec["spawned"]}


CASES: dict[str, Callable[[Spec], dict[str, Any]]] = {c.__name__: c for c in (speed, learn, growth, start)}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine(device: torch.device) -> dict[str, Any]:
    """Hardware and versions, and how busy the machine is with other things."""
    cpu, system = platform.processor() or platform.machine(), platform.system()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    card = torch.cuda.get_device_properties(device) if device.type == "cuda" else None
    return {
        "CPU": cpu, "cores": _cores(), "threads": torch.get_num_threads(), "RAM": f"{ram:.0f} GiB",
        "GPU": f"{card.name}, {card.total_memory / 2**30:.0f} GiB" if card else "none", "device": device.type,
        "OS": system, "Python": platform.python_version(), "torch": torch.__version__,
        "torchvision": version("torchvision"), "load average at the start": f"{os.getloadavg()[0]:.1f}",
        "TFLOP/s limit": next((limit for name, limit in LIMITS.items() if card and name in card.name), None),
    }  # fmt: skip
