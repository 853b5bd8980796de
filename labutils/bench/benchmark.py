"""``make bench``: how fast each way of training is, how fast it learns, and how its time grows.

Claim: on one machine, in one run, three ways of training are measured beside each other.

    skeleton    the course's architecture, trained as the course's skeleton does it (``labutils.bench.starter``)
    course      the same architecture and mathematics (a test compares the losses), trained by our ``Trainer``
    fast        our architecture, trained on replayed predictions (the default)

Protocol: every case has a process of its own (warm-up and memory do not leak into the next) on all cores or one GPU.
Trials are interleaved (A B C A B C ...); figures are medians over trials, ratios are taken within a trial.  Speed is in
predicted training frames per second of wall time, after a warm-up.  Seconds of training count from the first step; PSNR
is measured afterwards, on copies of the weights, in full rollouts from the prior on the test set (on validation where
no test truth is known).  Each budget is a training of its own, since the learning rate follows it.  A target that is
not reached is reported so: nothing is extrapolated.  On a CPU the course's architecture, too slow to predict
everything, is scored at the end of training only, and on the first test sequence only.  Memory is the peak resident set
of the training process (without the skeleton's loader processes); on CUDA also the peak of what torch allocated on the
card.
"""

import argparse
import contextlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from labutils import __main__ as commands
from labutils.bench.starter import FrameByFrame, Skeleton, same_mathematics
from labutils.config import PROFILES, LabConfig, Profile
from labutils.dance import stage
from labutils.dataset import load_split, load_test
from labutils.distributed import Ranks, select_device
from labutils.errors import LabError
from labutils.evaluation import predict
from labutils.images import Video, atomic_file
from labutils.metrics import psnr
from labutils.model import ConditionalVAE
from labutils.show import figures as plotting
from labutils.training import Trainer

WAYS = ("skeleton", "course", "fast")
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


# ------------------------------------------------------------------------------ the cases; each has its own process


def profile_of(spec: Spec) -> Profile:
    return PROFILES["smoke" if spec["quick"] else "quick" if spec["device"] == "cpu" else "full"]


def configure(spec: Spec, **changes: Any) -> LabConfig:
    """The settings of a case: ours are the profile's, those of the course's architecture the skeleton's."""
    common = dict(DR=spec["DR"], device=spec["device"], seed=spec["seed"], quiet=True)
    common |= dict(per_save=10**9, per_val=10**9)  # nothing but training in the training's time
    settings = profile_of(spec).settings if spec["way"] == "fast" else same_mathematics(LabConfig())
    return LabConfig(**{**settings, **common, **(TINY if spec["quick"] else {}), **changes})


def build(spec: Spec, cfg: LabConfig, data: Video | None = None, callbacks: Any = ()) -> Any:
    """The ``Skeleton`` or ``Trainer`` of a case, with a new model."""
    device = select_device(spec["device"])
    torch.manual_seed(cfg.seed)
    model = ConditionalVAE(cfg)
    if spec["way"] == "skeleton":
        return Skeleton(model, cfg.replace(num_workers=0 if spec["quick"] else min(4, _cores())), device)
    if spec["way"] == "course":
        model.label_transformation = FrameByFrame(model.label_transformation, cfg.batch_size)
    data = data or load_split(cfg.DR, "train", cfg)
    return Trainer(model, data, None, cfg, callbacks, Ranks(device=device))


def one_step(trainer: Any, tfr: float) -> None:
    """A training step outside of ``fit``; the frames that are fed on are all true (``tfr`` 1) or generated (0)."""
    if isinstance(trainer, Skeleton):
        trainer.step(tfr)
    else:
        trainer._step(0.0, tfr)
        trainer.budget.step += 1


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
    name = "draw" if spec["way"] == "skeleton" else f"_draw_{cfg.mode}"
    draw, waits = getattr(trainer, name), []

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
        setattr(trainer, name, timed)
        waits.clear()
        watched = time_steps(trainer, tfr, spec["seconds"])
        setattr(trainer, name, draw)
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
    cfg, copies = configure(spec, minutes=spec["seconds"] / 60), []
    videos, val = _scored(spec, cfg)

    def keep(event: str, trainer: Trainer) -> None:
        due = trainer.budget.seconds >= spec["seconds"] * (len(copies) + 1) / SNAPSHOTS
        if event == "epoch" and due and not _slow(spec):
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
    cfg, steps = configure(spec), {name: [] for name in SWEEPS}
    train = load_split(cfg.DR, "train", cfg)
    for name, values in SWEEPS.items():
        for value in values[:2] if spec["quick"] else values:
            index = np.arange(value if name == "frames" else len(train.frames)) % len(train.frames)
            data = Video("train", train.frames[index], train.labels[index])
            changes = {} if name == "frames" else {name: value}
            changes |= {"mode": "clips"} if name == "train_vi_len" else {}
            trainer = build(spec, cfg.replace(**changes), data)
            steps[name].append((value, statistics.median(time_steps(trainer, 0.0, spec["seconds"]))))
    videos = [video.part(0, 40 if spec["quick"] else None) for video in load_test(cfg.DR, cfg)[:6]]
    trainer, began = build(spec, cfg, train), time.perf_counter()
    frames = max(len(p) for p in predict(trainer.averaged, videos)) - 1
    return {"step_s": steps, "rollout": {"s": time.perf_counter() - began, "sequences": len(videos), "frames": frames}}


def start(spec: Spec) -> dict[str, Any]:
    """Seconds from the start of a process to the end of the first step of the command ``train``; data are cached."""
    original = Trainer._step

    def first_step(trainer: Trainer, *args: Any) -> Any:
        original(trainer, *args)
        wait_for(trainer.device)
        raise StopIteration(time.time())

    Trainer._step = first_step  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        try:
            commands._train(configure(spec, save_root=folder))
        except StopIteration as end:
            return {"start_s": end.value - spec["spawned"]}
    raise LabError("training ended before its first step")


CASES: dict[str, Callable[[Spec], dict[str, Any]]] = {c.__name__: c for c in (speed, learn, growth, start)}


def count_flop(function: Callable[[], Any]) -> int:
    """Floating-point operations of the convolutions and matrix products in a call; a multiply-add counts 2.

    The gradients of a convolution cost what it does, each; torch's own formula (2.15) takes depthwise ones for dense.
    """

    def backward(grad: Any, x: Any, weight: Any, *args: Any, **kwargs: Any) -> int:
        transposed, wanted = args[4], args[7]  # wanted: the gradients of (x, weight, bias)
        return 2 * grad[0] * int(np.prod((x if transposed else grad)[2:]) * np.prod(weight)) * sum(wanted[:2])

    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution_backward: backward}) as counter:
        function()
    return counter.get_total_flops()


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


# ------------------------------------------------------------------------------------------------------- the command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = """
Measure, in one run and in interleaved trials, the course's way of training beside ours: frames per second, waiting for
data, seconds to 25 dB, PSNR after a budget, memory, FLOP/s, and how time grows with frames, clip length, width and
batch size. About 25 minutes on 2 cores; nothing else should run. Ctrl-C keeps and prints what was measured so far.

example:  python -m labutils bench
          python -m labutils bench --DR data/course --trials 5 --out outputs/bench-course
writes:   OUT/bench.json, OUT/bench.md (what it prints), OUT/bench.png; without --DR also data/dance-PROFILE"""
    parser.add_argument("--DR", metavar="PATH", help="data root (default: the profile's synthetic dance)")
    parser.add_argument("--out", default="outputs/bench", metavar="DIR", help="where to write (default: %(default)s)")
    parser.add_argument("--trials", type=int, metavar="N", help="interleaved trials (default: 3; with --quick 1)")
    parser.add_argument("--minutes", type=float, default=1.5, metavar="X", help="longest training (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="everything tiny: whether it works, not how fast it is")
    parser.add_argument("--device", default="auto", metavar="S", help="auto, cpu, cuda or cuda:1 (%(default)s)")
    parser.add_argument("--case", help=argparse.SUPPRESS)  # JSON: what this process, a child, is to measure


def main(args: argparse.Namespace) -> None:
    """Measure everything; with ``--case`` one thing.

    Raises:
        LabError: a flag is out of range, the data are not usable, or a case failed.
    """
    if args.case:
        spec = json.loads(args.case)
        print(json.dumps(CASES[spec["case"]](spec)))
        return
    trials = (1 if args.quick else 3) if args.trials is None else args.trials
    if trials < 1 or not args.minutes > 0:
        raise LabError(f"--trials is {trials} and --minutes {args.minutes:g}; both must be greater than 0")
    device, out = select_device(args.device), Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    shared: Spec = {"device": str(device), "quick": args.quick, "way": "fast", "seed": 0}
    profile = profile_of(shared)
    shared["DR"] = args.DR or f"data/dance-{profile.name}"
    if args.DR is None:
        sizes = profile.train_frames, profile.val_frames, profile.test_sequences, profile.test_frames
        stage.make_data(shared["DR"], *sizes)
    cfg = configure(shared)
    videos = [*(load_split(cfg.DR, split, cfg) for split in ("train", "val")), *load_test(cfg.DR, cfg)]  # now cached
    sizes = {video.name: len(video.labels) for video in videos}
    results = {"machine": machine(device), "data": Path(cfg.DR).name, "frames": sizes, "trials": trials}
    results |= {"complete": False, **{name: [] for name in CASES}}
    try:
        for case in _plan(trials, args.quick, 0.6 if args.quick else 60 * args.minutes):
            print(", ".join(f"{name} {value}" for name, value in case.items()), file=sys.stderr)
            results[case["case"]].append(case | _child({**shared, **case}))
        results["complete"] = True
    finally:  # after Ctrl-C too
        if results["speed"]:
            results["summary"] = summarize(results)
            with atomic_file(out / "bench.json") as file:
                file.write((json.dumps(results, indent=1) + "\n").encode())
            (out / "bench.md").write_text(table(results) + "\n")
            plotting.save(figure(results), out / "bench.png")
            print(f"{table(results)}\n\nWrote bench.json, bench.md and bench.png in {out}")


def _plan(trials: int, quick: bool, seconds: float) -> Iterator[Spec]:
    """The cases in their order; ``seed`` counts the trials."""
    for trial in range(trials):
        for way in WAYS:
            yield dict(case="speed", way=way, seed=trial, seconds=0.2 if quick else 6.0, count=trial == 0)
        yield dict(case="start", seed=trial)
    yield dict(case="growth", seconds=0.1 if quick else 1.5)
    for trial in range(trials):
        for part in BUDGETS[2:] if quick else BUDGETS:
            yield dict(case="learn", way="fast", seed=trial, seconds=round(part * seconds, 1))
        for way in () if trial else WAYS[:1] if quick else WAYS[:2]:
            yield dict(case="learn", way=way, seed=trial, seconds=seconds)


def _child(spec: Spec) -> dict[str, Any]:
    """Measure one case in a new process."""
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "labutils", "bench", "--case", json.dumps(spec | {"spawned": time.time()})]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path})
    if done.returncode:
        reason = "its message stands above" if done.returncode > 0 else "it was killed, perhaps for lack of memory"
        raise LabError(f"the case {spec['case']} of {spec['way']} ended with code {done.returncode}; {reason}")
    return json.loads(done.stdout.splitlines()[-1])


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def summarize(results: dict[str, Any]) -> dict[str, Any]:
    """Medians over trials: speed by way and what is fed on, with ratios; learning by way and seconds of training."""
    speeds, trainings = defaultdict(list), defaultdict(list)
    for row in results["speed"]:
        skeleton = next(r["fed"] for r in results["speed"] if r["seed"] == row["seed"])  # it is the first one
        for fed, values in row["fed"].items():
            ratio = values["frames_per_s"] / skeleton[fed if fed in skeleton else "own"]["frames_per_s"]
            memory = {name: row[name] for name in ("memory_mb", "cuda_memory_mb")}
            speeds[f"{row['way']}, {fed}"].append({**values, **memory, "ratio": ratio})
    for row in results["learn"]:
        values = {name: row[name] for name in ("trained_s", "steps", "sequences", "psnr", "val_psnr")}
        reached = {f"s_to_{target}": seconds for target, seconds in row["seconds_to"].items()}
        trainings[f"{row['way']}, {row['seconds']:g} s"].append(values | reached)
    medians = [
        {name: {key: _median(row.get(key) for row in rows) for key in rows[0]} for name, rows in part.items()}
        for part in (speeds, trainings)
    ]
    return {"speed": medians[0], "learn": medians[1], "start_s": _median(row["start_s"] for row in results["start"])}


def table(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    summary, limit = results["summary"], results["machine"]["TFLOP/s limit"]

    def row(*cells: Any) -> str:
        return f"| {' | '.join('-' if cell is None else str(cell) for cell in cells)} |"

    def number(value: float | None, form: str, missing: str | None = None) -> str | None:
        return missing if value is None else format(value, form)

    lines = [f"{name}: {value}" for name, value in results["machine"].items() if value is not None]
    lines = [", ".join(lines), f"data: {results['data']}, frames: {results['frames']}; trials: {results['trials']}", ""]
    if not results["complete"]:
        lines.append("Not complete: stopped before the end.\n")
    heads = "training, fed with", "frames/s", "x skeleton", "waits for data", "GFLOP/frame", "TFLOP/s", "memory, MB"
    lines += [row(*heads), row(*["---"] * len(heads))]
    for name, v in summary["speed"].items():
        used = f" ({v['tflop_per_s'] / limit:.1%} of {limit})" if limit else ""
        card = f" + {v['cuda_memory_mb']:.0f} on the GPU" if v["cuda_memory_mb"] else ""
        cells = [f"{v['frames_per_s']:.1f}", f"{v['ratio']:.2f}", f"{v['wait_share']:.1%}"]
        cells += [f"{v['gflop_per_frame']:.2f}", f"{v['tflop_per_s']:.3g}{used}", f"{v['memory_mb']:.0f}{card}"]
        lines.append(row(name, *cells))
    if not limit and results["machine"]["device"] == "cuda":
        lines.append("\nThe limit of this card is unknown (see LIMITS), so no utilisation is given.")
    heads = "training", "steps", "PSNR, dB", "sequences", "validation, dB", "seconds to a target"
    lines += ["", row(*heads), row(*["---"] * len(heads))] if summary["learn"] else []
    for name, v in summary["learn"].items():
        reached = [f"{k[5:]} dB: {number(v[k], '.1f', 'not reached')}" for k in v if k.startswith("s_to_")]
        cells = number(v["psnr"], ".2f", "not finite"), f"{v['sequences']:.0f}", number(v["val_psnr"], ".2f")
        lines.append(row(name, f"{v['steps']:.0f}", *cells, ", ".join(reached)))
    lines.append("")
    for measured in results["growth"]:
        lines.append("Rollout of {sequences} sequences, {frames} frames each: {s:.2f} s".format(**measured["rollout"]))
        for name, points in measured["step_s"].items():
            lines.append(f"Milliseconds a step by {name}: " + ", ".join(f"{v}: {1000 * s:.1f}" for v, s in points))
    if summary["start_s"]:
        lines.append(f"Start of a process to the end of its first step, data cached: {summary['start_s']:.1f} s")
    return "\n".join(lines)


def figure(results: dict[str, Any]) -> plotting.Figure:
    """Training frames per second, PSNR over seconds of training, and how a step grows."""
    plot = plotting.LabFigure(figsize=(11, 5.5), layout="constrained")
    bars, learning, *growing = plot.subplots(2, 3).flat
    for place, (name, values) in enumerate(results["summary"]["speed"].items()):
        color = plotting.COLORS[WAYS.index(name.partition(",")[0])]
        bars.bar_label(bars.barh(place, values["frames_per_s"], color=color), [name], padding=3)
    bars.set(xlabel="training frames per second", xmargin=0.5, yticks=[])
    for row in results["learn"]:
        k, known = WAYS.index(row["way"]), learning.get_legend_handles_labels()[1]
        seconds, values = zip(*((s, np.nan if value is None else value) for s, value in row["curve"]))
        look = dict(color=plotting.COLORS[k], marker="osv"[k], markersize=3.5, linewidth=1)
        learning.plot(seconds, values, label=None if row["way"] in known else row["way"], **look)
    learning.axhline(TARGETS[0], color="0.4", linestyle=":", label=f"{TARGETS[0]:g} dB")
    learning.set(xlabel="seconds of training", ylabel="PSNR (dB)")
    learning.legend(frameon=False)
    for measured in results["growth"]:
        for ax, (name, points) in zip(growing, measured["step_s"].items()):
            ax.plot([v for v, _ in points], [1000 * s for _, s in points], "o-", color=plotting.COLORS[2])
            ax.set(xlabel=name, ylabel="milliseconds a step, ours", xlim=(0, None), ylim=(0, None))
    return plot
