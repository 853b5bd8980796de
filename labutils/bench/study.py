"""``python -m labutils study``: what z does, measured over several seeds, for the tables of the lab's text.

``lights``: models for the dance under stage lights, of which it is known what z should carry (``labutils.dance``): what
each posterior and prior makes of it, and whether z is worth its nats, by the bound on log p(X given c) beside that of
the same network trained without z.

``annealing``: monotonic, cyclical and no KL annealing over a range of sigma_x, on small models for the same data.

Every row is written as it is measured, and rows that are there already are not measured again.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from labutils import analysis, dance, lab
from labutils.dataset import load_split, load_test
from labutils.distributed import Ranks
from labutils.errors import LabError
from labutils.files import atomic_file
from labutils.images import Video
from labutils.model import ConditionalVAE
from labutils.training import fit

Row = dict[str, Any]
WITHOUT_Z = "without z"
LIGHTS_WAYS: dict[str, Row] = {  # what is changed of lab.lights()
    "innovation": {},
    WITHOUT_Z: dict(sigma_x=1000.0),  # a nat costs more than a perfect prediction could gain: KL is 0
    "frame": dict(posterior="frame"),
    "frame, learned prior": dict(posterior="frame", prior="learned"),
    "innovation, learned prior": dict(prior="learned"),
}
KINDS = ("Monotonic", "Cyclical", "None")
SIGMAS = (1.0, 3.5, 5.0, 15.0)
ANNEALING = dict(width=8, batch_size=1, lr=3e-3, kl_anneal_cycle=2, kl_anneal_ratio=0.8)  # as in notebook 08
IMPORTANCE = 64  # samples of the bound, for PART frames of each test sequence
PART, DRAWS = 100, 8


def study_arguments(parser: argparse.ArgumentParser) -> None:
    """measure what z does, over several seeds"""
    parser.description = """
Train models for the dance under stage lights with several seeds, measure what z does in them, and print the table: for
"lights" each posterior and prior beside the same network without z (about 5 minutes a model on 2 cores), for
"annealing" three KL schedules over a range of sigma_x, with small models (about half a minute each). Ctrl-C keeps what
was measured; the same command goes on.

example:  python -m labutils study lights --seeds 3
writes:   OUT/lights.json or OUT/annealing.json, the rows; also data/lights-PROFILE"""
    parser.add_argument("what", choices=("lights", "annealing"), help="the table that is measured")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="models of each kind (%(default)s)")
    parser.add_argument("--steps", type=int, metavar="N", help="steps of training (default: the notebooks')")
    parser.add_argument("--out", default="outputs/study", metavar="DIR", help="where to write (default: %(default)s)")


def study(args: argparse.Namespace) -> None:
    """Measure what is missing of a table, and print it.

    Raises:
        LabError: a flag is out of range.
    """
    if args.seeds < 2:
        raise LabError(f"--seeds is {args.seeds}; an interval needs at least 2")
    path = Path(args.out) / f"{args.what}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = json.loads(path.read_text()) if path.is_file() else []
    plan, measure = (_lights_plan, _measure_lights) if args.what == "lights" else (_annealing_plan, _measure_annealing)
    for spec in plan(args.steps):
        for seed in range(args.seeds):
            spec = {**spec, "seed": seed}
            if not any(spec.items() <= row.items() for row in rows):
                print(", ".join(f"{k} {v}" for k, v in spec.items()), flush=True)
                rows.append(spec | measure(**spec))
                with atomic_file(path) as file:
                    file.write((json.dumps(rows, indent=1) + "\n").encode())
    print(f"\n{(lights_table if args.what == 'lights' else annealing_table)(rows)}\n\n{lab.hardware()}. Wrote {path}")


def _train(cfg_changes: Row) -> tuple[ConditionalVAE, float]:
    """A model for the stage lights, and the seconds it took."""
    cfg = lab.config(**cfg_changes)
    torch.manual_seed(cfg.seed)
    model = ConditionalVAE(cfg)
    start = time.perf_counter()
    fit(model, load_split(cfg.DR, "train", cfg), None, cfg.replace(save_root=str(lab.outputs() / "study")),
        ranks=Ranks(device=lab.device()))  # fmt: skip
    return model, time.perf_counter() - start


def _interval(values: Sequence[float]) -> float:
    """Half the 95 % confidence interval of the mean, by Student's t distribution."""
    return float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))


# ------------------------------------------------------------------------------------------------------------ lights


def _lights_plan(steps: int | None) -> list[Row]:
    return [{"model": name, "steps": steps or lab.lights()["steps"]} for name in LIGHTS_WAYS]


def _measure_lights(model: str, steps: int, seed: int) -> Row:
    """One model: what z carries and is worth, how the light behaves, the bound of each test sequence."""
    settings = lab.lights(**{**LIGHTS_WAYS[model], "steps": steps, "seed": seed})
    trained, seconds = _train(settings)
    cfg = trained.cfg
    val, tests = load_split(cfg.DR, "val", cfg), load_test(cfg.DR, cfg)
    samples = analysis.prior_rollouts(trained, val, DRAWS)
    latent = analysis.measure_latent(trained, val, samples)
    states, switch = dance.stage_lights(cfg.DR)
    drawn = dance.describe_lights(samples, states, switch)
    still = analysis.prior_rollouts(trained, val, 1, std=0.0)
    sigma_x = lab.lights()["sigma_x"]
    bounds = [_bound(trained, video.part(0, min(PART, len(video.frames))), sigma_x) for video in tests]
    return {
        "seconds": round(seconds, 1), "kl": latent.kl, "ideal": dance.information(states, switch),
        "rate": drawn.rate / switch, "variation": drawn.variation, "clean": drawn.clean, "mu": latent.psnr_mu,
        "zero": latent.psnr_zero, "draws": latent.psnr_draws, "best": latent.best_of, "active": latent.active_units,
        "switches_at_zero": round(dance.describe_lights(still, states, switch).rate * (len(val.frames) - 1)),
        "bounds": bounds,
    }  # fmt: skip


def _bound(model: ConditionalVAE, video: Video, sigma_x: float) -> float:
    """The bound on log p(x_t | x_{t-1}, P_t) in nats, mean over the frames of a video."""
    return float(np.mean(analysis.importance_bound(model, video, IMPORTANCE, sigma_x)))


def lights_table(rows: Sequence[Row]) -> str:
    """The rows of ``study lights`` as a Markdown table: means over seeds, with the smallest and the largest value."""
    head = ["model", "steps", "seconds", "KL, nats a frame", "switches / true", "shares: TV", "clean", "z = mu, dB",
            "z = 0, dB", "drawn, dB", "switches at z = 0", "bound - without z, nats a frame"]  # fmt: skip
    columns = [("seconds", ".0f"), ("kl", ".2f"), ("rate", ".2f"), ("variation", ".2f"), ("clean", ".1%"),
               ("mu", ".2f"), ("zero", ".2f"), ("draws", ".2f"), ("switches_at_zero", ".0f")]  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    twins = {row["seed"]: row["bounds"] for row in rows if row["model"] == WITHOUT_Z}
    for name in LIGHTS_WAYS:
        same = [row for row in rows if row["model"] == name]
        if not same:
            continue
        cells = [name, str(same[0]["steps"])]
        for key, form in columns:
            values = [row[key] for row in same]
            mean, low, high = (format(v, form) for v in (statistics.fmean(values), min(values), max(values)))
            cells.append(mean if low == high else f"{mean} ({low} to {high})")
        pairs = [(row["bounds"], twins[row["seed"]]) for row in same if name != WITHOUT_Z and row["seed"] in twins]
        better = np.array([np.subtract(*pair) for pair in pairs])  # (seeds, sequences)
        gain = better.mean(0) if len(pairs) else better  # (sequences,): its seeds' mean for each sequence
        cells.append(f"{gain.mean():+.2f} ± {_interval(gain.tolist()):.2f}" if len(gain) > 1 else "")
        lines.append("| " + " | ".join(cells) + " |")
    ideal = rows[0]["ideal"] if rows else math.nan
    return "\n".join(
        [*lines, "", f"Means over seeds (smallest to largest); ideal KL {ideal:.2f} nats. The bound: K = {IMPORTANCE}, "
         f"{PART - 1} frames of each test sequence, ± 95 % over sequences."]
    )  # fmt: skip


# --------------------------------------------------------------------------------------------------------- annealing


def _annealing_plan(steps: int | None) -> list[Row]:
    return [{"sigma_x": s, "kind": kind, "steps": steps or 800} for s in SIGMAS for kind in KINDS]


def _measure_annealing(sigma_x: float, kind: str, steps: int, seed: int) -> Row:
    """One small model: what z carries and is worth at the end of training."""
    changes = {**ANNEALING, "sigma_x": sigma_x, "kl_anneal_type": kind, "steps": steps, "seed": seed}
    model, seconds = _train(lab.lights(**changes))
    val = load_split(model.cfg.DR, "val", model.cfg)
    latent = analysis.measure_latent(model, val, analysis.prior_rollouts(model, val, 2))
    worth = {"mu": latent.psnr_mu, "zero": latent.psnr_zero, "draws": latent.psnr_draws}
    return {"seconds": round(seconds, 1), "kl": latent.kl, **worth}


def annealing_table(rows: Sequence[Row]) -> str:
    """The rows of ``study annealing`` as a Markdown table: KL and what z is worth, mean ± 95 % over seeds."""
    lines = ["| sigma_x | " + " | ".join(f"{kind}: KL, nats | worth of z, dB" for kind in KINDS) + " |"]
    lines.append("|---" * (1 + 2 * len(KINDS)) + "|")
    for sigma_x in sorted({row["sigma_x"] for row in rows}):
        cells = [f"{sigma_x:g}"]
        for kind in KINDS:
            same = [row for row in rows if row["sigma_x"] == sigma_x and row["kind"] == kind]
            for values in ([row["kl"] for row in same], [row["mu"] - row["zero"] for row in same]):
                error = f" ± {_interval(values):.2f}" if len(values) > 1 else ""
                cells.append(f"{statistics.fmean(values):.2f}{error}" if values else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(
        [*lines, "", "Mean ± 95 % over seeds. Worth: PSNR of the rollout with z = mu minus that with z = 0."]
    )
