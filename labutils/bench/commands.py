"""``make bench``: how fast each way of training is, how fast it learns, and how its time grows.

Claim: on one machine, in one run, three ways of training are measured beside each other.

    starter     the course's architecture, trained as its starter code does it (``labutils.bench.starter``)
    course      the same architecture and mathematics (a test compares the losses), trained by our ``Trainer``
    fast        our architecture, trained on replayed predictions (the default)

Protocol: every case has a process of its own (warm-up and memory do not leak into the next) on all cores or one GPU.
Trials are interleaved (A B C A B C ...); figures are medians over trials, ratios are taken within a trial.  Speed is in
predicted training frames per second of wall time, after a warm-up.  Seconds of training count from the first step; PSNR
is measured afterwards, on copies of the weights, in full rollouts from the prior on the test set (on validation where
no test truth is known).  Each budget is a training of its own, since the learning rate follows it.  A target that is
not reached is reported so: nothing is extrapolated.  On a CPU the course's architecture, too slow to predict
everything, is scored at the end of training only, and on the first test sequence only.  Memory is the peak resident set
of the training process (without the starter code's loader processes); on CUDA also the peak of what torch allocated on
the card.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from labutils import dance, show
from labutils.bench.measure import BUDGETS, CASES, WAYS, Spec, configure, machine, profile_of
from labutils.bench.report import figure, summarize, table
from labutils.dataset import load_split, load_test
from labutils.distributed import select_device
from labutils.errors import LabError
from labutils.files import atomic_file


def bench_arguments(parser: argparse.ArgumentParser) -> None:
    """measure the course's way of training beside ours"""
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


def bench(args: argparse.Namespace) -> None:
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
        dance.make_data(shared["DR"], *profile.sizes)
    cfg = configure(shared)
    videos = [*(load_split(cfg.DR, split, cfg) for split in ("train", "val")), *load_test(cfg.DR, cfg)]  # now cached
    frames = {video.name: len(video.labels) for video in videos}
    results: dict[str, Any] = {"machine": machine(device), "data": Path(cfg.DR).name, "frames": frames}
    results |= {"trials": trials, "complete": False, **{name: [] for name in CASES}}
    try:
        for case in plan(trials, args.quick, 0.6 if args.quick else 60 * args.minutes):
            print(", ".join(f"{name} {value}" for name, value in case.items()), file=sys.stderr)
            results[case["case"]].append(case | _child({**shared, **case}))
        results["complete"] = True
    finally:  # after Ctrl-C too
        if results["speed"]:
            results["summary"] = summarize(results)
            with atomic_file(out / "bench.json") as file:
                file.write((json.dumps(results, indent=1) + "\n").encode())
            (out / "bench.md").write_text(table(results) + "\n")
            show.save(figure(results), out / "bench.png")
            print(f"{table(results)}\n\nWrote bench.json, bench.md and bench.png in {out}")


def plan(trials: int, quick: bool, seconds: float) -> Iterator[Spec]:
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
