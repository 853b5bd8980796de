"""What a history and a report tell by themselves."""

import csv
import io
import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any, TypeGuard

import numpy as np

from labutils.baselines import BASELINES, shortfall
from labutils.doctor.findings import Case, Row, look

ALIASES = {  # ours: what others call it, in lower case and with underscores
    "step": "iteration iter global_step",
    "epoch": "epochs",
    "loss": "train_loss total_loss training_loss loss_train avg_loss",
    "mse": "mse_loss recon recon_loss reconstruction reconstruction_loss loss_mse train_mse",
    "kl": "kld kl_loss kld_loss kl_divergence loss_kl loss_kld train_kl",
    "beta": "kl_weight kl_beta annealing_weight kl_annealing_beta",
    "tfr": "teacher_forcing_ratio teacher_forcing",
    "lr": "learning_rate",
    "val_psnr": "psnr avg_psnr average_psnr valid_psnr validation_psnr psnr_val val_avg_psnr",
}
NAMES = {alias: name for name, others in ALIASES.items() for alias in (name, *others.split())}
# What the course's trainer shows on the terminal: its only history.
VALUE = r"(\d{1,30}(?:\.\d*)?(?:e[+-]?\d{1,3})?)"
BAR = re.compile(rf"\((train|val)[^)]*\) Epoch (\d{{1,9}}), lr: ?\[?{VALUE}")
NUMBER = {"tfr": rf"TeacherForcing: \w+, {VALUE}", "beta": rf"beta: {VALUE}", "loss": rf"loss={VALUE}"}
H_W = 32 * 64  # pixels of a frame of the course
SIGMA_X = 0.3  # the lab's
NATS = 0.1  # a frame: z that carries less is not used
MOST = 1e30  # what is larger is no measurement
FAR = 500.0  # nats a frame from which no draw of the prior looks like a z of training


def read_series(path: Path) -> list[Row]:
    """A history: ours, another CSV or JSON whose columns are known, or what the course's trainer shows; [] if none."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace").lstrip("\ufeff")
    except OSError:
        return []
    if shown := _bars(text):
        return shown
    if path.suffix == ".json":
        return _from_json(text)
    try:
        table = csv.reader(io.StringIO(text))
        header = next(table, [])
        rows = [_row(zip(header, cells, strict=False)) for cells in table]
    except csv.Error:
        return []
    return [row for row in rows if row.keys() - {"step", "epoch"}]


def _from_json(text: str) -> list[Row]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return []
    if isinstance(found, dict):  # name -> list
        lists = {name: values for name, values in found.items() if isinstance(values, list)}
        length = max(map(len, lists.values()), default=0)
        found = [{name: values[k] for name, values in lists.items() if k < len(values)} for k in range(length)]
    rows = [_row(row.items()) for row in found if isinstance(row, dict)] if isinstance(found, list) else []
    return [row for row in rows if row.keys() - {"step", "epoch"}]


def _row(cells: Iterable[tuple[str, Any]]) -> Row:
    row = {}
    for name, value in cells:
        known = NAMES.get(re.sub(r"[^a-z0-9]+", "_", str(name).lower()).strip("_"))
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        if known and abs(number) < MOST:
            row[known] = number
    return row


def _bars(text: str) -> list[Row]:
    """One row for each epoch of training, from the last state of its bar."""
    rows: dict[int, Row] = {}
    for line in re.split(r"[\r\n]+", text):
        if (found := BAR.search(line)) and found[1] == "train":
            row = rows.setdefault(int(found[2]), {"epoch": float(found[2]), "lr": float(found[3])})
            for name, pattern in NUMBER.items():
                if value := re.search(pattern, line):
                    row[name] = float(value[1])
    return [rows[epoch] for epoch in sorted(rows)]


def _where(row: Row, k: int) -> str:
    return next((f"{name} {row[name]:.0f}" for name in ("epoch", "step") if name in row), f"row {k + 1}")


@look("learning-rate", "history")
def early_end(case: Case) -> str:
    """The rate falls to 2 % of its peak, for good, with a third of the training to go."""
    rows = [row for row in case.history or [] if "lr" in row]
    rates = [row["lr"] for row in rows]
    if len(rates) < 4 or not (peak := max(rates)) > 0:
        return ""
    start = next((k for k in range(len(rates)) if k > rates.index(peak) and max(rates[k:]) <= 0.02 * peak), len(rates))
    if start > 2 / 3 * len(rates):
        return ""
    left = f"{len(rates) - start} of {len(rates)} rows of the history"
    return (
        f"lr is {rates[start]:.2g} from {_where(rows[start], start)} on, at its peak {peak:.2g}: {left} learn nothing"
    )


@look("learning-rate", "notes")
def rate_in_checkpoint(case: Case) -> str:
    """A checkpoint of the course holds the rate; its trainer starts at 1e-3 and divides by 10 in epochs 2 and 5."""
    notes = case.notes or {}
    lr, epoch = notes.get("lr"), notes.get("last_epoch")
    if lr is None or epoch is None or not (epoch >= 5 and lr <= 2e-5):
        return ""
    return f"lr is {lr:.2g} after epoch {epoch}, a hundredth of the course's 0.001: MultiStepLR with milestones [2, 5]?"


@look("kl-sum", "history")
def weight_of_a_nat(case: Case) -> str:
    """loss = mse + c * beta * kl with one c throughout, and c as large as no sigma_x of frames in [0, 1] makes it."""
    parts = []
    for row in case.history or []:
        nats = row.get("beta", 1.0) * row.get("kl", 0.0)
        if {"loss", "mse"} <= row.keys() and nats > 1e-6:
            parts.append((row["loss"] - row["mse"]) / nats)
    if len(parts) < 4:
        return ""
    low, middle, high = np.quantile(parts, [0.1, 0.5, 0.9])
    sigma = math.sqrt(max(middle, 0) * 3 * H_W / 2)
    if sigma < 10 or high - low > 0.1 * middle:
        return ""
    elbo = 2 * SIGMA_X**2 / (3 * H_W)
    return (
        f"loss - mse is {middle:.3g} x beta x KL throughout; the ELBO with sigma_x = {SIGMA_X} gives a nat {elbo:.2g} "
        f"beside a mean over 3x32x64 values: {middle / elbo:,.0f} times as heavy, as if sigma_x were {sigma:.0f}"
    )


def _last_kl(case: Case) -> float | None:
    """Median KL in the last tenth."""
    kl = [row["kl"] for row in case.history or [] if "kl" in row]
    return median(kl[-max(1, len(kl) // 10) :]) if kl else None


@look("z-unused", "history")
def little_kl(case: Case) -> str:
    """KL near 0 at the end."""
    kl = _last_kl(case)
    return (
        f"KL ends at {kl:.2g} nats a frame: q(z | x_t, P_t) tells nothing of x_t"
        if kl is not None and kl < NATS
        else ""
    )


@look("z-unlike-prior", "history")
def much_kl(case: Case) -> str:
    """KL so large that training never shows a z like one of N(0, I)."""
    kl = _last_kl(case)
    if kl is None or kl < FAR:
        return ""
    return f"KL ends at {kl:,.0f} nats a frame: no z that the decoder saw in training looks like a draw of N(0, I)"


@look("feedback-gap", "history")
def forced_and_fed_back(case: Case) -> str:
    """Training error from true frames far below that of the validation's rollout."""
    rows = case.history or []
    k = next((k for k in reversed(range(len(rows))) if "val_psnr" in rows[k]), -1)
    near = [row["mse"] for row in rows[max(0, k - 50) : k + 1] if row.get("mse", 0) > 0]
    forced = rows[k].get("tfr", 0.0) if k >= 0 else 0.0
    if not near or forced < 0.3:
        return ""
    one, many = -10 * math.log10(float(np.mean(near))), rows[k]["val_psnr"]
    if one - many < 6:
        return ""
    return (
        f"at {_where(rows[k], k)} training has {one:.1f} dB with {forced:.0%} true frames fed, validation {many:.1f} dB"
    )


# ------------------------------------------------------------------------------------------------------------ reports


def _number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and abs(value) < MOST


def _sequences(report: Any) -> list[dict[str, Any]]:
    found = report.get("sequences", [report]) if isinstance(report, dict) else []
    return [sequence for sequence in found if isinstance(sequence, dict)]


@look("psnr-mean", "reports")
def one_too_few(case: Case) -> str:
    """A mean that is the sum over n - 1."""
    for name, report in (case.reports or {}).items():
        for sequence in _sequences(report):
            values, mean = sequence.get("psnr_per_frame"), sequence.get("psnr")
            if not isinstance(values, list) or len(values) < 2 or not _number(mean) or not all(map(_number, values)):
                continue
            total, n = math.fsum(values), len(values)
            if abs(mean - total / (n - 1)) < 0.1 * abs(total / (n - 1) - total / n):
                return f"{name}: {mean:.4f} dB is the sum of {n} values over {n - 1}; their mean is {total / n:.4f} dB"
    return ""


@look("below-baseline", "reports")
def reported_below(case: Case) -> str:
    """Averages below the baselines that stand beside them."""
    found = []
    for name, report in (case.reports or {}).items():
        if isinstance(report, dict) and _number(report.get("average")):
            known = report.get("baselines")
            rivals = (
                {k: v for k, v in known.items() if k in BASELINES and _number(v)} if isinstance(known, dict) else {}
            )
            if short := shortfall(report["average"], rivals):
                found.append(f"{name}: {short}")
    return "; ".join(found)
