"""``make bench``: how fast each way of training is, how fast it learns, and how its time grows.

Claim: on the same machine, in one run, three ways of training are measured beside each other.

    skeleton    the course's architecture, trained as the course's skeleton does it (``labutils.skeleton``)
    course      the same architecture and the same mathematics (losses equal to 1e-4), trained by our ``Trainer``
    fast        our architecture, trained on replayed predictions (the default)

Protocol: every case runs in a process of its own (warm-up and memory do not leak into the next), on all cores or one
GPU; trials are interleaved (A B C A B C ...); figures are medians over trials, ratios are taken within a trial.  Speed
is in predicted training frames per second of wall time after a warm-up.  Seconds of training count from the first step;
PSNR is measured on copies of the weights after the training, so it costs it nothing, in full rollouts from the prior on
the test set (on validation where the test set has no truth).  A budget is a training of its own, since the learning
rate follows it.  What does not reach a target in its time is reported as not reached: nothing is extrapolated.
On a CPU the course's architecture, which is too slow to predict everything, is scored on the first test sequence only.
Peak memory is the largest resident set of the process; on CUDA also the largest allocation on the card.
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from labutils.config import PROFILES, LabConfig
from labutils.errors import LabError

WAYS = {
    "skeleton": "course architecture, skeleton's loop",
    "course": "course architecture, our loop",
    "fast": "fast architecture, replay",
}
TARGETS = (25.0, 36.0)  # dB; the second is looked for on CUDA only
BUDGETS = (2 / 9, 4 / 9, 1)  # parts of --minutes: 20, 40 and 90 s of 1.5 minutes
SNAPSHOTS = 12  # copies of the weights in one training, at which the targets are looked for
LIMITS = {"H100": 989, "H200": 989, "A100": 312}  # TFLOP/s of dense bfloat16 matrix products, by the makers' data sheets
SWEEPS = {  # one setting of ours changes, the others stay
    "training frames": (1260, 5040, 20160),
    "clip length": (4, 8, 16, 32),
    "width": (16, 32, 48, 64),
    "batch size": (1, 2, 4, 8),
}
TINY = dict(F_dim=16, L_dim=8, N_dim=4, D_out_dim=16, width=8, train_vi_len=4)  # with --quick

Spec = dict[str, Any]


# ---------------------------------------------------------------- the cases: each runs in a child process of its own


def configure(spec: Spec, **changes: Any) -> LabConfig:
    """The settings of a case: those of the profile that fits the machine, or the skeleton's, then ``changes``."""
    from labutils.skeleton import same_mathematics

    profile = PROFILES["smoke" if spec["quick"] else "full" if spec["device"] != "cpu" else "quick"]
    never = dict(per_save=10**9, per_val=10**9)  # nothing but training in the training's time
    cfg = profile.config(DR=spec["DR"], device=spec["device"], seed=spec.get("seed", 0), quiet=True, **never)
    if spec.get("way", "fast") != "fast":
        cfg = cfg.replace(**same_mathematics(cfg), batch_size=2, compile=False)
    return cfg.replace(**{**(TINY if spec["quick"] else {}), **changes})


def build(spec: Spec, cfg: LabConfig, data: Any = None, callbacks: Any = ()) -> Any:
    """The ``Skeleton`` or ``Trainer`` of a case, with a new model."""
    import torch

    from labutils.dataset import load_split
    from labutils.distributed import Ranks, select_device
    from labutils.model import ConditionalVAE
    from labutils.skeleton import Skeleton, same_statistics
    from labutils.training import Trainer

    device = select_device(spec["device"])
    torch.manual_seed(cfg.seed)
    model, way = ConditionalVAE(cfg), spec.get("way", "fast")
    if way == "skeleton":
        workers = 0 if spec["quick"] else min(4, len(os.sched_getaffinity(0)))
        return Skeleton(model, cfg.replace(num_workers=workers), device)
    if way == "course":
        same_statistics(model, cfg.batch_size)
    return Trainer(model, data or load_split(cfg.DR, "train", cfg), None, cfg, callbacks, Ranks(device=device))


def one_step(trainer: Any, tfr: float) -> None:
    """A training step outside of ``fit``; all frames fed are true (``tfr`` 1) or generated (0)."""
    if hasattr(trainer, "_step"):
        trainer._step(0.0, tfr)
        trainer.budget.step += 1
    else:
        trainer.step(tfr)


def wait_for(device: Any) -> None:
    """Until the device has done all that it was given."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


class Stopwatch:
    """A function that adds up the seconds spent in it; ``exact`` also waits for the device before and after."""

    def __init__(self, function: Callable[..., Any], device: Any):
        self.function, self.device, self.exact, self.seconds = function, device, False, 0.0

    def __call__(self, *args: Any) -> Any:
        if self.exact:
            wait_for(self.device)
        began = time.perf_counter()
        result = self.function(*args)
        if self.exact:
            wait_for(self.device)
        self.seconds += time.perf_counter() - began
        return result


def time_steps(trainer: Any, tfr: float, seconds: float, warmup: int = 2) -> list[float]:
    """Seconds of a step, several times for about ``seconds`` in all; on CUDA each is the mean of 10 steps."""
    block = 10 if trainer.device.type == "cuda" else 1
    for _ in range(warmup * block):
        one_step(trainer, tfr)
    times: list[float] = []
    while len(times) < 3 or block * sum(times) < seconds:
        wait_for(trainer.device)
        began = time.perf_counter()
        for _ in range(block):
            one_step(trainer, tfr)
        wait_for(trainer.device)
        times.append((time.perf_counter() - began) / block)
    return times


def speed(spec: Spec) -> dict[str, Any]:
    """Frames per second, the share of a step spent on getting the batch, memory, floating-point operations."""
    import torch

    cfg = configure(spec)
    trainer = build(spec, cfg)
    on_cuda = trainer.device.type == "cuda"
    name = {"skeleton": "draw", "course": "_draw_clips", "fast": f"_draw_{cfg.mode}"}[spec["way"]]
    watch = Stopwatch(getattr(trainer, name), trainer.device)
    setattr(trainer, name, watch)
    per_step = cfg.batch_size * (cfg.train_vi_len - 1)
    result: dict[str, Any] = {}
    for fed, tfr in {"own frames": 0.0, "true frames": 1.0}.items() if cfg.mode == "clips" else [("replay", 0.0)]:
        watch.exact = False
        step = statistics.median(time_steps(trainer, tfr, spec["seconds"], warmup=1 + on_cuda))
        watch.exact, watch.seconds = True, 0.0
        began, times = time.perf_counter(), time_steps(trainer, tfr, spec["seconds"] if on_cuda else 0, warmup=0)
        share = watch.seconds / (time.perf_counter() - began)
        case = {"frames_per_s": per_step / step, "step_s": step, "wait_share": share, "steps": len(times)}
        result[fed] = case | {"wait_s": step * share, "compute_s": step * (1 - share)}
    result["memory_mb"] = peak_memory() / 2**20
    result["cuda_memory_mb"] = torch.cuda.max_memory_allocated() / 2**20 if on_cuda else None
    if spec["count"]:
        plain = build(spec, cfg.replace(compile=False))
        for fed in result.keys() & {"own frames", "true frames", "replay"}:
            flop = count_flop(lambda fed=fed: one_step(plain, float(fed == "true frames")))
            result[fed] |= {"gflop_per_frame": flop / per_step / 1e9, "tflop_per_s": flop / result[fed]["step_s"] / 1e12}
    return result


def learn(spec: Spec) -> dict[str, Any]:
    """Train for ``spec["seconds"]``, then score the final weights, and earlier ones until the targets are reached."""
    cfg = configure(spec, minutes=spec["seconds"] / 60)
    videos, val = scored_videos(spec, cfg)
    copies: list[tuple[float, dict[str, Any]]] = []

    def keep(event: str, trainer: Any) -> None:
        if event == "epoch" and trainer.budget.seconds >= spec["seconds"] * (len(copies) + 1) / SNAPSHOTS:
            weights = {name: value.clone() for name, value in trainer.averaged.state_dict().items()}
            copies.append((trainer.budget.seconds, weights))

    with tempfile.TemporaryDirectory() as folder:
        trainer = build(spec, cfg.replace(save_root=folder), callbacks=[keep])
        if spec["way"] == "skeleton":
            network, steps, began = trainer.model, 0, time.perf_counter()
            while (trained := time.perf_counter() - began) < spec["seconds"]:
                trainer.step()
                wait_for(trainer.device)
                steps += 1
        else:
            trainer.fit()
            network, steps, trained = trainer.averaged, trainer.budget.step, trainer.budget.seconds
    final = {name: value.clone() for name, value in network.state_dict().items()}
    targets = TARGETS if trainer.device.type == "cuda" else TARGETS[:1]
    curve = []
    for seconds, weights in copies:
        network.load_state_dict(weights)
        curve.append((seconds, score(network, videos)))
        if (curve[-1][1] or 0) >= max(targets):
            break
    network.load_state_dict(final)
    curve.append((trained, score(network, videos)))
    reached = {f"{t:g}": next((s for s, value in curve if value is not None and value >= t), None) for t in targets}
    scores = {"psnr": curve[-1][1], "val_psnr": score(network, val), "curve": curve, "seconds_to": reached}
    return {"trained_s": trained, "steps": steps, "scored_on": [v.name for v in videos], **scores}


def scored_videos(spec: Spec, cfg: LabConfig) -> tuple[list[Any], list[Any]]:
    """The videos of the main score (test, or validation where no truth is known) and of the second (validation)."""
    from labutils.dataset import load_split, load_test

    val = [load_split(cfg.DR, "val", cfg)]
    tests = [v for v in load_test(cfg.DR, cfg) if v.has_truth]
    if spec["device"] == "cpu" and spec["way"] != "fast":
        tests, val = (tests or val)[:1], []
    frames = 40 if spec["quick"] else None
    return [v.part(0, frames) for v in tests or val], [v.part(0, frames) for v in val]


def score(network: Any, videos: list[Any]) -> float | None:
    """Mean PSNR in dB; None where there is no video or the prediction is not finite."""
    from labutils.evaluation import predict, psnr

    try:
        predictions = predict(network, videos) if videos else []
    except LabError:
        return None
    values = [float(psnr(p[1:], v.frames[1:]).mean()) for p, v in zip(predictions, videos)]
    return statistics.fmean(values) if values else None


def growth(spec: Spec) -> dict[str, Any]:
    """Seconds of a training step of ours over several settings, and of a rollout of the test sequences."""
    import numpy as np

    from labutils.dataset import Video, load_split, load_test
    from labutils.evaluation import predict

    cfg = configure(spec)
    train = load_split(cfg.DR, "train", cfg)
    result: dict[str, Any] = {}
    for name, values in SWEEPS.items():
        rows = result[name] = []
        for value in values[:2] if spec["quick"] else values:
            if name == "training frames":
                index = np.arange(value) % len(train.frames)
                trainer = build(spec, cfg, Video("train", train.frames[index], train.labels[index]))
            elif name == "clip length":
                trainer = build(spec, cfg.replace(train_vi_len=value, mode="clips"), train)
            else:
                trainer = build(spec, cfg.replace(**{name.replace(" ", "_"): value}), train)
            rows.append((value, statistics.median(time_steps(trainer, 0.0, spec["seconds"]))))
    trainer = build(spec, cfg, train)
    videos = [v.part(0, 40) if spec["quick"] else v for v in load_test(cfg.DR, cfg)[:6]]
    began = time.perf_counter()
    predictions = predict(trainer.averaged, videos)
    rollout = {"seconds": time.perf_counter() - began, "sequences": len(videos)}
    return {"growth": result, "rollout": rollout | {"frames_each": max(len(p) for p in predictions) - 1}}


def start(spec: Spec) -> dict[str, Any]:
    """Seconds from the start of a process to the end of the first training step of ``train``, the cache being there."""
    from labutils.__main__ import _train
    from labutils.training import Trainer

    step = Trainer._step

    def first(trainer: Trainer, *args: Any) -> Any:
        step(trainer, *args)
        wait_for(trainer.device)
        raise StopIteration(time.time())

    Trainer._step = first  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        try:
            _train(configure(spec, save_root=folder))
        except StopIteration as end:
            return {"seconds": end.value - spec["spawned"]}
    raise LabError("training ended before its first step")


def machine(spec: Spec) -> dict[str, Any]:
    """Hardware and versions; no names of machines or people, no dates."""
    import torch

    from labutils.distributed import select_device

    device = select_device(spec["device"])
    cpu, system = platform.processor() or platform.machine(), platform.system()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    with contextlib.suppress(OSError):
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    gpu, limit = "none", None
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        gpu = f"{card.name}, {card.total_memory / 2**30:.0f} GiB"
        limit = next((tflops for name, tflops in LIMITS.items() if name in card.name), None)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "device": device.type if spec["device"] == "auto" else spec["device"], "CPU": cpu,
        "cores": len(os.sched_getaffinity(0)), "threads": torch.get_num_threads(), "RAM": f"{memory:.0f} GiB",
        "GPU": gpu, "GPU limit TFLOP/s": limit, "OS": system, "Python": platform.python_version(),
        "torch": torch.__version__, "torchvision": version("torchvision"), "load before": os.getloadavg()[0],
    }  # fmt: skip


CASES = {"machine": machine, "speed": speed, "learn": learn, "growth": growth, "start": start}


def count_flop(function: Callable[[], Any]) -> int:
    """Floating-point operations of the convolutions and matrix products that a call runs; 2 for a multiply-add.

    PyTorch's own formula counts the weight gradient of a depthwise convolution as that of a dense one (2.15).
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    def backward(grad: Any, x: Any, weight: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
        wanted = args[-1]  # gradients of (x, weight, bias)
        transposed = args[4]
        places = (x if transposed else grad)[2:]
        return 2 * grad[0] * torch.Size(places).numel() * torch.Size(weight).numel() * sum(wanted[:2])

    mapping = {torch.ops.aten.convolution_backward: backward}
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        function()
    return counter.get_total_flops()


def peak_memory() -> int:
    """The largest resident set of this process so far, in bytes."""
    with contextlib.suppress(OSError, StopIteration):  # ru_maxrss would count the parent that started this process too
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# ------------------------------------------------------------------------------------------------------- the command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = """
Measure, in one run and in interleaved trials, the course's way of training beside ours: frames per second, waiting for
data, seconds to 25 dB, PSNR after a budget, memory, achieved FLOP/s, and how time grows with frames, clip length,
width and batch size. About 20 minutes on 2 cores. Ctrl-C prints what was measured so far.

example:  python -m labutils bench
          python -m labutils bench --DR data/course --trials 5 --out outputs/bench-course
writes:   OUT/bench.json, OUT/bench.png, OUT/bench.md (the table); without --DR data/dance-PROFILE"""
    parser.add_argument("--DR", metavar="PATH", help="data root (default: the profile's synthetic dance)")
    parser.add_argument("--out", default="outputs/bench", metavar="DIR", help="where to write (%(default)s)")
    parser.add_argument("--trials", type=int, metavar="N", help="interleaved trials (default: 3; with --quick 1)")
    parser.add_argument("--minutes", type=float, default=1.5, metavar="X", help="the longest training (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="everything tiny: whether it works, not how fast it is")
    parser.add_argument("--device", default="auto", metavar="S", help="auto, cpu, cuda or cuda:1 (%(default)s)")
    parser.add_argument("--case", help=argparse.SUPPRESS)  # what a child process is to measure, JSON


def main(args: argparse.Namespace) -> None:
    """Measure everything, or with ``--case`` one thing; see ``add_arguments`` for what is written.

    Raises:
        LabError: a flag is out of range, the data set is not usable, or a case failed.
    """
    if args.case:
        spec = json.loads(args.case)
        print(json.dumps(CASES[spec["case"]](spec)))
        return
    trials = (1 if args.quick else 3) if args.trials is None else args.trials
    if trials < 1 or not args.minutes > 0:
        raise LabError(f"--trials is {trials} and --minutes {args.minutes}; both must be greater than 0")
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    bench = Bench(args.DR, args.device, trials, 1.0 if args.quick else 60 * args.minutes, args.quick)
    try:
        bench.measure()
    finally:  # after Ctrl-C or a failed case too
        if bench.results["speed"]:
            bench.results["summary"] = summarize(bench.results)
            bench.write(out)
