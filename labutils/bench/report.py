"""What the benchmark found: medians over trials, a table, a figure."""

import statistics
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np

from labutils.bench.measure import TARGETS, WAYS
from labutils.show import COLORS, LabFigure


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def summarize(results: dict[str, Any]) -> dict[str, Any]:
    """Medians over trials: speed by way and what is fed on, with ratios; learning by way and seconds of training."""
    speeds, trainings = defaultdict(list), defaultdict(list)
    for row in results["speed"]:
        starter = next(r["fed"] for r in results["speed"] if r["seed"] == row["seed"])  # it is the first one
        for fed, values in row["fed"].items():
            ratio = values["frames_per_s"] / starter[fed if fed in starter else "own"]["frames_per_s"]
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
    heads = "training, fed with", "frames/s", "x starter code", "waits for data", "GFLOP/frame", "TFLOP/s", "memory, MB"
    lines += [row(*heads), row(*["---"] * len(heads))]
    for name, v in summary["speed"].items():
        used = f" ({v['tflop_per_s'] / limit:.1%} of {limit})" if limit else ""
        card = f" + {v['cuda_memory_mb']:.0f} on the GPU" if v["cuda_memory_mb"] else ""
        cells = [f"{v['frames_per_s']:.1f}", f"{v['ratio']:.2f}", f"{v['wait_share']:.1%}"]
        cells += [f"{v['gflop_per_frame']:.2f}", f"{v['tflop_per_s']:.3g}{used}", f"{v['memory_mb']:.0f}{card}"]
        lines.append(row(name, *cells))
    if not limit and results["machine"]["device"] == "cuda":
        lines.append("\nThe limit of this card is unknown (see LIMITS), so no utilisation is given.")
    columns = "training", "steps", "PSNR, dB", "sequences", "validation, dB", "seconds to a target"
    lines += ["", row(*columns), row(*["---"] * len(columns))] if summary["learn"] else []
    for name, v in summary["learn"].items():
        reached = [f"{k[5:]} dB: {number(v[k], '.1f', 'not reached')}" for k in v if k.startswith("s_to_")]
        scores = number(v["psnr"], ".2f", "not finite"), f"{v['sequences']:.0f}", number(v["val_psnr"], ".2f")
        lines.append(row(name, f"{v['steps']:.0f}", *scores, ", ".join(reached)))
    lines.append("")
    for measured in results["growth"]:
        lines.append("Rollout of {sequences} sequences, {frames} frames each: {s:.2f} s".format(**measured["rollout"]))
        for name, points in measured["step_s"].items():
            lines.append(f"Milliseconds a step by {name}: " + ", ".join(f"{v}: {1000 * s:.1f}" for v, s in points))
    if summary["start_s"]:
        lines.append(f"Start of a process to the end of its first step, data cached: {summary['start_s']:.1f} s")
    return "\n".join(lines)


def figure(results: dict[str, Any]) -> LabFigure:
    """Training frames per second, PSNR over seconds of training, and how a step grows."""
    plot = LabFigure(figsize=(11, 5.5), layout="constrained")
    bars, learning, *growing = plot.subplots(2, 3).flat
    for place, (name, values) in enumerate(results["summary"]["speed"].items()):
        color = COLORS[WAYS.index(name.partition(",")[0])]
        bars.bar_label(bars.barh(place, values["frames_per_s"], color=color), [name], padding=3)
    bars.set(xlabel="training frames per second", xmargin=0.5, yticks=[])
    for row in results["learn"]:
        k, known = WAYS.index(row["way"]), learning.get_legend_handles_labels()[1]
        seconds, values = zip(*((s, np.nan if value is None else value) for s, value in row["curve"]))
        look = dict(color=COLORS[k], marker="osv"[k], markersize=3.5, linewidth=1)
        learning.plot(seconds, values, label=None if row["way"] in known else row["way"], **look)
    learning.axhline(TARGETS[0], color="0.4", linestyle=":", label=f"{TARGETS[0]:g} dB")
    learning.set(xlabel="seconds of training", ylabel="PSNR (dB)")
    learning.legend(frameon=False)
    for measured in results["growth"]:
        for ax, (name, points) in zip(growing, measured["step_s"].items()):
            ax.plot([v for v, _ in points], [1000 * s for _, s in points], "o-", color=COLORS[2])
            ax.set(xlabel=name, ylabel="milliseconds a step, ours", xlim=(0, None), ylim=(0, None))
    return plot
