"""What a report shows beside words, taken from the files that the learner's own runs wrote; where one is missing, how
to make it.  Nothing is run and nothing is invented.
"""

import ast
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from labutils import show
from labutils.baselines import BASELINES
from labutils.checkpoint import Row, checkpoint_config, read_checkpoint, read_history
from labutils.config import LabConfig
from labutils.errors import LabError
from labutils.handin.sections import SECTIONS, Words
from labutils.metrics import grade

PROG = "python -m labutils"
KINDS = ("Monotonic", "Cyclical", "None")
# Settings in which runs that are compared may differ.
FREE = ("save_root", "ckpt_path", "num_workers", "device", "quiet")


@dataclass(frozen=True)
class Picture:
    """A figure: a PNG, what it shows, and where it comes from."""

    png: bytes
    caption: str


@dataclass(frozen=True)
class Table:
    """Rows of text under a head; ``caption`` says where they come from."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str


@dataclass(frozen=True)
class Code:
    """An excerpt of the learner's module, and where it stands there."""

    text: str
    place: str


@dataclass(frozen=True)
class Missing:
    """What is not there (without an article), and how to make it."""

    what: str
    how: str

    def __str__(self) -> str:
        return f"no {self.what} yet; {self.how}"


Evidence = Picture | Table | Code | Missing
Runs = dict[str, tuple[Path, list[Row]]]  # kind of annealing -> folder, history


def collect(root: Path, runs: Runs) -> dict[str, list[Evidence]]:
    """Section -> its figures and tables, from a run's folder and the runs with three kinds of KL annealing.

    "quality" is the prediction quality on the test sequences, which the demo grades.

    Raises:
        LabError: a file is there and damaged.
    """
    train = f"{PROG} train --DR DATA --save_root {root}"
    found: dict[str, list[Evidence]] = {s.key: [] for s in SECTIONS}
    found["introduction"] = [_still(root)]
    found["psnr"] = [_psnr(root)]
    found["quality"] = [_quality(root)]
    history = read_history(root / "history.csv") if (root / "history.csv").is_file() else []
    if history:
        told = f"{root.name}/history.csv"
        curves = _picture(show.loss_curves(history), f"Loss, MSE, KL divergence, beta and validation PSNR; {told}")
        found["protocol"] = [_settings(root, history), curves]
        forcing = f"Teacher-forcing ratio beside the loss, over training steps; {told}"
        found["tfr-loss"] = [_picture(show.tfr_and_loss(history), forcing)]
    else:
        found["protocol"] = [Missing("loss curves", train)]
        found["tfr-loss"] = [Missing("teacher-forcing ratio beside the loss", train)]
    found["annealing"], found["curves"] = _annealing(runs)
    return found


# ------------------------------------------------------------------------------------------------ a run's own folder


def _picture(figure: Figure, caption: str) -> Picture:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=180, facecolor="white")
    return Picture(data.getvalue(), caption)


def _settings(root: Path, history: Sequence[Row]) -> Evidence:
    """How the model of a folder was trained, from its checkpoint and its history."""
    cfg = _config(root)
    if cfg is None:
        return Missing("settings of the training", f"{PROG} train --DR DATA --save_root {root}")
    forcing = (
        f"from {cfg.tfr:g}, from epoch {cfg.tfr_sde} on {cfg.tfr_d_step:g} less in each, not below {cfg.tfr_floor:g}"
    )
    ramp = {"Cyclical": f", {cfg.kl_anneal_cycle} cycles", "Monotonic": ""}
    kl: str = cfg.kl_anneal_type
    kl += f"{ramp[kl]}, rising in {cfg.kl_anneal_ratio:g} of it" if kl in ramp else f": beta is {cfg.kl_anneal_stop:g}"
    validated = [row["val_psnr"] for row in history if row["val_psnr"] is not None]
    rows = {
        "data": Path(cfg.DR).name,
        "clips": f"{cfg.train_vi_len} frames, one given, {cfg.train_vi_len - 1} predicted; mode {cfg.mode}, "
        f"batch size {cfg.batch_size}",
        "modules": f"variant {cfg.variant}, z with {cfg.N_dim} channels, posterior {cfg.posterior}, prior {cfg.prior}",
        "loss": f"MSE + {cfg.l1:g} MAE + beta · 2 σ_x² / (3HW) · KL, σ_x = {cfg.sigma_x:g}",
        "optimizer": f"{cfg.optim}, learning rate {cfg.lr:g}, averaged weights {cfg.ema:g}",
        "teacher forcing": forcing,
        "KL annealing": kl,
        "trained for": f"{len(history)} steps, {history[-1]['epoch'] + 1} epochs, {history[-1]['seconds']:.0f} s, "
        f"seed {cfg.seed}{', --fast_train' if cfg.fast_train else ''}",
        "validation PSNR": f"best {max(validated):.2f} dB, last {validated[-1]:.2f} dB"
        if validated
        else "not measured",
    }
    return Table(
        ("setting", "value"), list(rows.items()), f"The training, from {root.name}: checkpoint and history.csv"
    )


def _config(folder: Path) -> LabConfig | None:
    """The settings of a folder's checkpoint; None where it has none."""
    path = next((p for p in (folder / "last.ckpt", folder / "best.ckpt") if p.is_file()), None)
    return checkpoint_config(read_checkpoint(path)) if path else None


def _still(root: Path) -> Evidence:
    """Three moments of the validation GIF, one below the other."""
    from PIL import Image

    path = root / "val" / "prediction.gif"
    if not path.is_file():
        return Missing("still of the predicted video", f"{PROG} validate --save_root {root}")
    with Image.open(path) as gif:
        total = getattr(gif, "n_frames", 1)
        shown = sorted({int(part * total) for part in (0.15, 0.5, 0.85)})
        stills = []
        for t in shown:
            gif.seek(t)
            stills.append(gif.convert("RGB"))
    whole = Image.new("RGB", (stills[0].width, sum(still.height for still in stills)))
    for k, still in enumerate(stills):
        whole.paste(still, (0, k * still.height))
    data = io.BytesIO()
    whole.save(data, format="png")
    frames = ", ".join(str(t + 1) for t in shown)
    return Picture(
        data.getvalue(), f"Validation, frames {frames} of {total}; all but frame 1 predicted; val/prediction.gif"
    )


def _report(path: Path) -> dict[str, Any]:
    """The content of a psnr.json.

    Raises:
        LabError: it is damaged.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        found["sequences"][0]["psnr_per_frame"]
        return found
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise LabError(f"{path} cannot be read as the result of an evaluation; make it again") from error


def _psnr(root: Path) -> Evidence:
    path = root / "val" / "psnr.json"
    if not path.is_file():
        return Missing("PSNR of the validation frames", f"{PROG} validate --save_root {root}")
    sequence = _report(path)["sequences"][0]
    curve = np.array(sequence["psnr_per_frame"], float)  # (T-1,)
    rivals = {name: np.full_like(curve, mean) for name, mean in sequence["baselines"].items()}
    caption = (
        f"PSNR of the {len(curve)} predicted frames of the validation video, z from the prior; baselines: their means"
    )
    return _picture(show.psnr_per_frame({"prediction": curve}, rivals), f"{caption}; val/psnr.json")


def _quality(root: Path) -> Evidence:
    path = root / "test" / "psnr.json"
    if not path.is_file():
        return Missing("PSNR of the test sequences", f"{PROG} test --save_root {root}")
    found = _report(path)
    if found["average"] is None:
        return Table(("sequence", "PSNR (dB)"), [("all", "true frames not known")], "test/psnr.json")
    names = [name for name in BASELINES if name in found["baselines"]]
    rows = [
        [f"test {k}", *(_dB(value) for value in (s["psnr"], *(s["baselines"].get(name) for name in names)))]
        for k, s in enumerate(found["sequences"], start=1)
    ]
    rows.append(["average", *(_dB(value) for value in (found["average"], *(found["baselines"][n] for n in names)))])
    caption = f"PSNR in dB, z from the prior: {grade(found['average'])} % of the points; test/psnr.json"
    return Table(["sequence", "prediction", *(BASELINES[name] for name in names)], rows, caption)


def _dB(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


# ------------------------------------------------------------------------------------------ three kinds of annealing


def kind_of(history: Sequence[Row]) -> str:
    """The kind of KL annealing, from what beta did: "None" (constant), "Monotonic" (never fell) or "Cyclical"."""
    beta = np.array([row["beta"] for row in history])
    if (beta == beta[0]).all():
        return "None"
    return "Cyclical" if (np.diff(beta) < 0).any() else "Monotonic"


def given_runs(folders: Sequence[Path]) -> Runs:
    """The runs in these folders, one for each kind.

    Raises:
        LabError: a folder holds no history, or two hold the same kind.
    """
    runs: Runs = {}
    for folder in folders:
        history = read_history(folder / "history.csv")
        if not history:
            raise LabError(f"{folder / 'history.csv'} holds no step")
        kind = kind_of(history)
        if kind in runs:
            raise LabError(f"--annealing: {runs[kind][0]} and {folder} both have KL annealing {kind}; give one of each")
        runs[kind] = (folder, history)
    return runs


def find_runs(place: Path) -> tuple[Runs, int]:
    """Three finished runs below ``place`` that differ in KL annealing only, and how many such sets there are.

    Of several sets it is the one with most steps, the latest among these.
    """
    sets: dict[str, Runs] = {}
    for path in sorted(place.rglob("history.csv")):
        if any(part.startswith("previous-") or part.endswith(".unfinished") for part in path.parts):
            continue
        try:
            cfg, history = _config(path.parent), read_history(path)
        except LabError:  # not one of ours
            continue
        if cfg is None or not history:
            continue
        told = {k: v for k, v in cfg.to_dict().items() if k not in FREE and not k.startswith("kl_anneal")}
        runs = sets.setdefault(json.dumps([told, len(history)], sort_keys=True), {})
        kind = kind_of(history)
        if kind not in runs or path.stat().st_mtime > (runs[kind][0] / "history.csv").stat().st_mtime:
            runs[kind] = (path.parent, history)
    whole = [runs for runs in sets.values() if len(runs) == len(KINDS)]

    def rank(runs: Runs) -> tuple[int, float]:
        return len(runs["None"][1]), max((folder / "history.csv").stat().st_mtime for folder, _ in runs.values())

    return max(whole, key=rank, default={}), len(whole)


def _annealing(runs: Runs) -> tuple[list[Evidence], list[Evidence]]:
    """What the runs show of beta, and of the losses."""
    lacking = [kind for kind in KINDS if kind not in runs]
    commands = "; ".join(f"{PROG} train --DR DATA --kl_anneal_type {k} --save_root ckpts/{k.lower()}" for k in lacking)
    gap = [Missing(f"run with KL annealing {', '.join(lacking)}", f"{commands}; then report --annealing")] * bool(
        lacking
    )
    if not runs:
        return [*gap], [*gap]
    runs = {kind: runs[kind] for kind in KINDS if kind in runs}
    histories: Mapping[str, list[Row]] = {kind: history for kind, (_, history) in runs.items()}
    beta = {kind: [row["beta"] for row in history] for kind, history in histories.items()}
    places = ", ".join(folder.name for folder, _ in runs.values())
    rows = []
    for kind, history in histories.items():
        last = history[-max(1, len(history) // 20) :]  # the last twentieth
        means = [float(np.mean([row[key] for row in last])) for key in ("loss", "mse", "kl")]
        psnr = next((row["val_psnr"] for row in reversed(history) if row["val_psnr"] is not None), None)
        numbers = [f"{means[0]:.5f}", f"{means[1]:.5f}", f"{means[2]:.3f}", _dB(psnr)]
        rows.append([kind, str(len(history)), *numbers])
    head = ("KL annealing", "steps", "loss", "MSE", "KL (nats per frame)", "validation PSNR (dB)")
    told = f"One run each; loss, MSE and KL are means over the last twentieth of the steps; {places}"
    return (
        [*gap, _picture(show.beta_over_iterations(beta), f"The KL weight beta over iterations; {places}")],
        [
            *gap,
            _picture(show.kl_compare(histories), f"Losses of the three kinds of KL annealing; {places}"),
            Table(head, rows, told),
        ],
    )


# ---------------------------------------------------------------------------------------------------- their own code


def excerpts(module: Path, words: Mapping[str, Words]) -> dict[str, list[Evidence]]:
    """Section -> the functions of the learner's module that belong there; the module is parsed, never run.

    Raises:
        LabError: the module does not parse, or a section asks for a name that it lacks.
    """
    source = ""
    if module.is_file():
        try:
            source = module.read_text(encoding="utf-8-sig")
            names = _names(source)
        except (SyntaxError, ValueError) as error:
            raise LabError(f"{module} does not parse: {error}") from error
    found: dict[str, list[Evidence]] = {}
    for s in SECTIONS:
        chosen = words[s.key].code if s.key in words else None
        if chosen == () or (chosen is None and not s.code):
            found[s.key] = []
        elif not source:
            found[s.key] = [
                Missing("code of your own", f"write {module}, or a line `code: none` in this section of report.md")
            ]
        else:
            found[s.key] = _excerpts(module, source, names, s.key, chosen)
    return found


def _excerpts(
    module: Path, source: str, names: Mapping[str, tuple[int, int]], key: str, chosen: Sequence[str] | None
) -> list[Evidence]:  # fmt: skip
    if chosen is None:
        chosen = [name for name in names if _home(name) == key]
        if not chosen:
            return [
                Missing(
                    "code of your own",
                    f"a line `code: NAME` in this section of report.md chooses it from {module.name}",
                )
            ]
    for name in chosen:
        if name not in names:
            there = ", ".join(names) or "nothing"
            raise LabError(f"report.md asks for the code of {name!r}, but {module} defines {there}")
    lines = source.splitlines()
    found: list[Evidence] = []
    for name in chosen:
        first, last = names[name]
        text = "\n".join(lines[first - 1 : last])
        found.append(Code(text, f"{module.name}, lines {first} to {last}"))
    return found


def _home(name: str) -> str | None:
    """The section that a function or a class belongs to by its name; a method goes with its class."""
    if "." in name:
        return None
    ranked = sorted(SECTIONS, key=lambda s: s.key == "protocol")  # the widest pattern comes last
    return next((s.key for s in ranked if s.code and re.search(s.code, name, re.I)), None)


def _names(source: str) -> dict[str, tuple[int, int]]:
    """Functions, classes and methods ("Class.method") of a source, and their first and last lines."""
    found: dict[str, tuple[int, int]] = {}
    for node in ast.parse(source).body:
        inside = [(f"{node.name}.", child) for child in node.body] if isinstance(node, ast.ClassDef) else []
        for prefix, part in [("", node), *inside]:
            if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                first = min([part.lineno, *(d.lineno for d in part.decorator_list)])
                found[prefix + part.name] = (first, part.end_lineno or first)
    return found
