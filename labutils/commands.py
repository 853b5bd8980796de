"""The learner's commands: make data, train, validate, test, and all of it in one go.

Each command is a function ``NAME_arguments`` that gives a parser its flags, and a function ``NAME`` that runs it.  What
a command prints and writes stands in its ``--help``; the flags are the fields of ``LabConfig``.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import sys
import time
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from labutils import foreign
from labutils.config import LabConfig
from labutils.errors import LabError
from labutils.profiles import PROFILES, Profile, default_profile

if TYPE_CHECKING:  # a command imports what it needs when it runs, so that --help is there at once
    import numpy as np

    from labutils.distributed import Ranks
    from labutils.images import Video
    from labutils.model import ConditionalVAE
    from labutils.report import Report
    from labutils.training import Callback, Trainer

    Futures = tuple[list[str], np.ndarray]
    Output = Literal["linear", "sigmoid"]

PROG = "python -m labutils"
GROUPS = ("data", "model", "training", "schedules", "output")
EVALUATION = ("DR", "num_workers", "seed", "save_root", "ckpt_path", "device", "quiet", "val_vi_len")  # settings it has
# what one run writes
RESULTS = ("history.csv", "last.ckpt", "best.ckpt", "losses.png", "teacher_forcing.png", "val", "test", "index.html")


# --------------------------------------------------------------------------------------------------------- make-data


def make_data_arguments(parser: argparse.ArgumentParser) -> None:
    """make a synthetic dance in the course's folder layout"""
    parser.description = """
Render a synthetic dance: a jointed figure in a lit room and its pose images, in the course's folder layout, with the
true test frames and the hidden factor (the room light) beside them. The same seed gives the same bytes.

example:  python -m labutils make-data --out data/dance --profile quick
writes:   DIR/train, DIR/val, DIR/test (PNG images, light*.csv; with --lights lights*.csv)"""
    size = PROFILES["quick"]
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to make")
    parser.add_argument("--profile", choices=PROFILES, default="quick", help="use the sizes of this profile (quick)")
    parser.add_argument("--train", type=int, metavar="N", help=f"training frames (quick: {size.train_frames})")
    parser.add_argument("--val", type=int, metavar="N", help=f"validation frames (quick: {size.val_frames})")
    parser.add_argument("--test_sequences", type=int, metavar="N", help=f"sequences (quick: {size.test_sequences})")
    parser.add_argument("--test_frames", type=int, metavar="N", help=f"frames of each (quick: {size.test_frames})")
    parser.add_argument("--height", type=int, default=32, metavar="N", help="height in pixels (%(default)s)")
    parser.add_argument("--width", type=int, default=64, metavar="N", help="width in pixels (%(default)s)")
    parser.add_argument("--supersample", type=int, default=3, metavar="N", help="render N times as large (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the dance (%(default)s)")
    parser.add_argument(
        "--lights", type=int, nargs="?", const=3, default=0, metavar="K",
        help="stage lights that switch by chance among K states (3) in place of the drifting room light",
    )  # fmt: skip
    parser.add_argument("--switch", type=float, default=0.05, metavar="X", help="how likely in a frame (%(default)s)")
    _flags(parser, "num_workers", "quiet")


def make_data(args: argparse.Namespace) -> None:
    from labutils import dance

    profile = PROFILES[args.profile]
    sizes = dict(
        train=profile.train_frames if args.train is None else args.train,
        val=profile.val_frames if args.val is None else args.val,
        test_sequences=profile.test_sequences if args.test_sequences is None else args.test_sequences,
        test_frames=profile.test_frames if args.test_frames is None else args.test_frames,
        height=args.height,
        width=args.width,
        supersample=args.supersample,
    )
    cfg = _config(args)
    lights = dict(lights=args.lights, switch=args.switch)
    out = dance.make_data(args.out, **sizes, **lights, seed=args.seed, workers=cfg.num_workers, progress=not cfg.quiet)
    print(f"{out}: {_sizes(sizes)}")


def _sizes(sizes: dict[str, int]) -> str:
    text = "{train} training and {val} validation frames, {test_sequences} test sequences of {test_frames}"
    return text.format(**sizes)


# ------------------------------------------------------------------------------------------------------------- stats


def stats_arguments(parser: argparse.ArgumentParser) -> None:
    """compare data sets by their statistics"""
    parser.description = """
Print what makes a data set easy or hard, a row for each --DR and split: the PSNR of copying the first frame, of copying
the previous frame, of the mean frame and of the nearest pose's, and how much of the picture the person covers.

example:  python -m labutils stats --DR data/dance --DR data/course
writes:   nothing"""
    parser.add_argument(
        "--DR", action="append", required=True, metavar="PATH", help="data root; give several to compare"
    )


def stats(args: argparse.Namespace) -> None:
    from labutils import dance

    dance.print_stats(args.DR)


# ------------------------------------------------------------------------------------------------------------- train


def train_arguments(parser: argparse.ArgumentParser) -> None:
    """train the conditional VAE"""
    parser.description = """
Train on DR/train and validate on DR/val now and then. Ctrl-C stops and keeps last.ckpt.
--ckpt_path goes on with a run, with its settings where no flag says otherwise (the course's checkpoints too).
Results of another run that lie in save_root are moved to save_root/previous-1, previous-2 ...: nothing is lost.

example:  python -m labutils train --DR data/dance --save_root ckpts --fast_train
          python -m labutils train --DR data/dance --save_root ckpts --steps 1200
          python -m labutils train --ckpt_path ckpts/last.ckpt --num_epoch 100
          torchrun --nproc-per-node 4 -m labutils train --DR data/dance --save_root ckpts --batch_size 4
          torchrun --nnodes 2 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint HOST:29500 -m labutils train ...
          With SLURM (#SBATCH --nodes=2 --ntasks-per-node=1 --gpus-per-node=8) one launcher runs on each node:
          HOST=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1); srun torchrun --nnodes 2 ... as above.
          The same global batch and seed give the losses of one process.
writes:   save_root/history.csv, last.ckpt (to go on from), best.ckpt (best on validation), losses.png,
          teacher_forcing.png"""
    _flags(parser, *_settings_of(*GROUPS), save_root="where to write (default: the checkpoint's folder, else outputs)")
    foreign.add(parser)


def train(args: argparse.Namespace) -> None:
    if args.test:
        print("note: train --test is validate, with the best.ckpt in save_root or --ckpt_path", file=sys.stderr)
        return validate(argparse.Namespace(**vars(args), output="linear"))
    train_model(_config(args, resume=True))


def train_model(cfg: LabConfig, callbacks: "Sequence[Callback] | None" = None) -> None:
    """What ``train`` does, in one process or, under torchrun, in several.

    Args:
        callbacks: of ``training.fit``; default: a progress bar, unless ``cfg.quiet``.
    """
    from labutils.distributed import ranks

    with ranks(cfg.device) as here:
        _train_on(here, cfg, callbacks)


def _train_on(ranks: "Ranks", cfg: LabConfig, callbacks: "Sequence[Callback] | None") -> None:
    import torch

    from labutils.alone import alone
    from labutils.dataset import load_split
    from labutils.memory import check_memory
    from labutils.model import ConditionalVAE

    check_memory(cfg, ranks.device, ranks.world)
    data = load_split(cfg.DR, "train", cfg)
    val = load_split(cfg.DR, "val", cfg) if (Path(cfg.DR) / "val").is_dir() else None
    torch.manual_seed(cfg.seed)
    model = ConditionalVAE(cfg)
    with alone(cfg.save_root) if ranks.first else contextlib.nullcontext():
        _train_alone(ranks, cfg, callbacks, model, data, val)


def _train_alone(
    ranks: "Ranks", cfg: LabConfig, callbacks: "Sequence[Callback] | None", model: "ConditionalVAE", data: "Video",
    val: "Video | None",
) -> None:  # fmt: skip
    from labutils import show
    from labutils.training import Budget, fit

    save_root = Path(cfg.save_root)
    if ranks.first:
        if not (cfg.ckpt_path and Path(cfg.ckpt_path).resolve().parent == save_root.resolve()):
            _set_aside(save_root)
        times = f"{ranks.world} x " if ranks.world > 1 else ""
        print(
            f"Training on {len(data.labels)} frames of {cfg.DR}, {Budget(cfg, len(data.labels))} on {times}"
            f"{ranks.device.type}: variant {cfg.variant}, {model.num_parameters():,} parameters"
        )
        if val is None:
            print(f"{Path(cfg.DR) / 'val'} is missing: training without validation")
        if cfg.ckpt_path:
            print(f"Going on from {cfg.ckpt_path}")
        sys.stdout.flush()
    if callbacks is None:
        callbacks = [] if cfg.quiet else [show.ProgressBar()]
    try:
        history = fit(model, data, val, cfg, [*callbacks, _finished], cfg.ckpt_path, ranks)
    except KeyboardInterrupt:
        if ranks.first and (save_root / "last.ckpt").is_file():
            print(f"\nStopped; go on with: {PROG} train --ckpt_path {save_root / 'last.ckpt'}", file=sys.stderr)
        raise
    if ranks.first:
        if history:  # else it has been lost
            show.save(show.loss_curves(history), save_root / "losses.png")
            show.save(show.tfr_and_loss(history), save_root / "teacher_forcing.png")
        written = [name for name in RESULTS if (save_root / name).is_file()]
        print(f"Wrote {', '.join(written)} in {save_root}")


def _finished(event: str, trainer: "Trainer") -> None:
    """Callback: say where nothing is left to train; what is missing beside the checkpoint is made."""
    if event == "start" and trainer.budget.spent:
        done = f"{trainer.cfg.ckpt_path} has been trained for its {trainer.budget} already"
        print(f"{done}; raise --steps, --minutes or --num_epoch to go on", flush=True)


def _set_aside(save_root: Path) -> None:
    """Move the results of an earlier run to the first free save_root/previous-N, so that a new run loses nothing."""
    old = [save_root / name for name in RESULTS if (save_root / name).exists()]
    old += save_root.glob("replayed-*.npy")
    if not any(path.is_file() for path in old):  # folders that a test of a foreign checkpoint left are no run
        return
    number = 1
    while (save_root / f"previous-{number}").exists():
        number += 1
    home = save_root / f"previous-{number}"
    home.mkdir()
    for path in old:
        path.rename(home / path.name)
    print(f"Moved the earlier run in {save_root} to {home}")


# ------------------------------------------------------------------------------------------------- validate and test


def validate_arguments(parser: argparse.ArgumentParser) -> None:
    """predict the validation video from its first frame and measure PSNR and SSIM"""
    parser.description = """
Predict the validation video in one autoregressive rollout: the first frame is given, every z is drawn from the prior,
and each predicted frame is fed back. Prints mean PSNR and SSIM beside four baselines: copying the first frame, the
mean training frame, the training frame of the nearest pose, and (unfair: it sees true frames) copying the previous true
frame; then what z carries and what that is worth, and under stage lights how these behave in the predictions.

example:  python -m labutils validate --DR data/dance --ckpt_path ckpts/best.ckpt --save_root ckpts
writes:   save_root/val/psnr.json, val/latent.json (what z is for), val/psnr.png (PSNR of each frame),
          val/prediction.gif (prediction | ground truth | pose)"""
    _flags(
        parser, *EVALUATION, hide_others=True,
        DR="data root (default: as in training)",
        seed="seed of the latents that are drawn from the prior (default: as in training)",
        save_root="where to write (default: the checkpoint's folder, else outputs)",
        ckpt_path="checkpoint, ours or the course's (default: best.ckpt in save_root)",
        val_vi_len="frames of the validation video that are used (default: as in training)",
    )  # fmt: skip
    _output_flag(parser)
    foreign.add(parser)


def validate(args: argparse.Namespace) -> None:
    validate_model(_config(args, checkpoint=True), args.output)


def validate_model(cfg: LabConfig, output: "Output" = "linear") -> "tuple[Report, Video, Futures]":
    """What ``validate`` does with the checkpoint of ``cfg``; returns the report, the validation video, and what z does.

    The last are the lines about z, and the rollouts with z from the prior, uint8 (draws, T, H, W, 3).  For ``output``
    see ``load_model``.
    """
    from labutils import show
    from labutils.dataset import load_split

    val = load_split(cfg.DR, "val", cfg)
    out, report, model = _evaluate(cfg, "val", [val], output)
    (sequence,) = report.sequences
    assert sequence.psnr is not None  # a validation video has its true frames
    show.save(show.psnr_per_frame({"prediction": sequence.psnr}, sequence.baselines), out / "psnr.png")
    show.write_gif(out / "prediction.gif", _panels(sequence.prediction, val))
    title = f"Validation, {len(sequence.psnr)} predicted frames: PSNR {report.average:.2f} dB, SSIM {report.ssim:.3f}"
    futures = _measure_z(cfg, model, val, out)
    lines = [title, *report.baseline_lines(), *futures[0]]
    print("\n".join([*lines, f"Wrote psnr.json, latent.json, psnr.png and prediction.gif in {out}"]))
    return report, val, futures


def _measure_z(cfg: LabConfig, model: "ConditionalVAE", val: "Video", out: Path) -> "Futures":
    """Measure what z is for on the validation video, and write latent.json."""
    from labutils import dance
    from labutils.analysis import measure_latent, prior_rollouts
    from labutils.files import atomic_file

    slow = cfg.variant == "course" and next(model.parameters()).device.type == "cpu"
    video = val.part(0, 40) if slow else val
    samples = prior_rollouts(model, video, 2 if slow else 8, cfg.seed)
    latent = measure_latent(model, video, samples, cfg.seed)
    found, lines = latent.to_json(), latent.lines()
    states, switch = dance.stage_lights(cfg.DR)
    if states:
        lines = latent.lines("training was too short, or a nat too dear (sigma_x), to learn the light")
        switched = dance.describe_lights(samples, states, switch)
        found["lights"] = {**dataclasses.asdict(switched), "variation": switched.variation}
        lines.append(f"{switched}; z would carry {dance.information(states, switch):.2f} nats a frame at best")
    with atomic_file(out / "latent.json") as file:
        file.write((json.dumps(found, indent=1) + "\n").encode())
    return lines, samples


def test_arguments(parser: argparse.ArgumentParser) -> None:
    """predict all test sequences, print the assignment's table and the grade"""
    parser.description = """
Predict every sequence of DR/test from its first frame and its pose images, and score those whose true frames are known
(test/test_gt or Demo_Test/GT{k}.csv). Sequences are counted from 1 in the table; files keep the folder's number k.

example:  python -m labutils test --DR data/dance --ckpt_path ckpts/best.ckpt --save_root ckpts --submission
writes:   save_root/test/psnr.json, test/seq{k}.gif, with --submission test/submission.csv (one row a frame)"""
    _flags(
        parser, *EVALUATION[:-1], hide_others=True,
        DR="data root (default: as in training)",
        seed="seed of the latents that are drawn from the prior (default: as in training)",
        save_root="where to write (default: the checkpoint's folder, else outputs)",
        ckpt_path="checkpoint, ours or the course's (default: best.ckpt in save_root)",
    )  # fmt: skip
    _output_flag(parser)
    foreign.add(parser)
    parser.add_argument("--submission", action="store_true", help="write submission.csv, as later editions ask for it")


def test(args: argparse.Namespace) -> None:
    test_model(_config(args, checkpoint=True), args.submission, args.output)


def test_model(cfg: LabConfig, submission: bool = False, output: "Output" = "linear") -> "tuple[Report, list[Video]]":
    """What ``test`` does with the checkpoint of ``cfg``, loaded with ``output``; returns report and test videos."""
    from labutils import show
    from labutils.dataset import load_test
    from labutils.submission import write_submission

    videos = load_test(cfg.DR, cfg)
    out, report, _ = _evaluate(cfg, "test", videos, output)
    written = ["psnr.json"]
    for video, sequence in zip(videos, report.sequences, strict=True):
        written.append(f"seq{video.name}.gif")
        show.write_gif(out / written[-1], _panels(sequence.prediction, video))
    if submission:
        written.append("submission.csv")
        write_submission(out / "submission.csv", [sequence.prediction for sequence in report.sequences])
    print("\n".join([report.table(), f"Wrote {', '.join(written)} in {out}"]))
    return report, videos


def _output_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output", choices=["linear", "sigmoid"], default="linear",
        help="a course checkpoint whose generator was made to end in a sigmoid: its weights cannot tell (%(default)s)",
    )  # fmt: skip


def _evaluate(
    cfg: LabConfig, name: str, videos: "Sequence[Video]", output: "Output"
) -> "tuple[Path, Report, ConditionalVAE]":
    """Predict and score videos; their report, written as psnr.json to the folder ``name`` of save_root; the model."""
    from labutils.analysis import output_hint
    from labutils.checkpoint import load_model
    from labutils.dataset import load_split
    from labutils.distributed import select_device
    from labutils.evaluation import evaluate

    model = load_model(cfg.ckpt_path or _best(cfg.save_root), select_device(cfg.device), output)
    trained = (Path(cfg.DR) / "train").is_dir()
    train = load_split(cfg.DR, "train", cfg) if trained else None
    out = Path(cfg.save_root) / name
    out.mkdir(parents=True, exist_ok=True)  # before the work begins: a place that cannot be written is known at once
    report = evaluate(model, videos, train, cfg.seed, progress=not cfg.quiet)
    report.save(out / "psnr.json")
    if hint := output_hint(model, videos[0]):
        print(f"hint: {hint}")
    return out, report, model


def _panels(prediction: "np.ndarray", video: "Video") -> "dict[str, np.ndarray]":
    """The panels of a GIF: prediction | ground truth, where it is known | pose, each uint8 (T, H, W, 3)."""
    truth = {"ground truth": video.frames} if video.has_truth else {}
    return {"prediction": prediction, **truth, "pose": video.labels}


# --------------------------------------------------------------------------------------------------------------- run


def run_arguments(parser: argparse.ArgumentParser) -> None:
    """everything: make data, train, validate, test"""
    parser.description = """
The whole path in four steps: make the profile's synthetic data (unless it is there), train, validate, test. The
profile is --profile, else the variable LAB_PROFILE, else full with CUDA and quick without. All flags of train work
too; with --DR an existing data set is used. An earlier run in save_root is moved to previous-1, previous-2 ...

example:  python -m labutils run --profile quick
          python -m labutils run --DR data/course --steps 4000 --save_root outputs/course
writes:   data/dance-PROFILE (with --lights: data/lights-PROFILE), and in save_root (outputs) what train, validate and
          test write, and index.html: a page to scrub through all predictions, with the table and the curves"""
    parser.add_argument("--profile", choices=PROFILES, help="size of the job")
    parser.add_argument("--lights", action="store_true", help="the dance under stage lights, where z is used")
    shown = ("DR", "steps", "minutes", "seed", "num_workers", *(n for n in _settings_of("output") if n != "ckpt_path"))
    _flags(
        parser, *shown, hide_others=True,
        DR="data root, which must exist (default: data/dance-PROFILE, made by this command)",
        steps="steps of training (default: the profile's)",
        minutes="train for so many minutes instead",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    profile = PROFILES[args.profile] if args.profile else default_profile()
    flags = _given(args)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise LabError("run is for one process; with torchrun use train, then validate and test without torchrun")
    if "ckpt_path" in flags:
        raise LabError("run trains a new model and takes no --ckpt_path; use train, validate and test")
    if args.lights and "DR" in flags:
        raise LabError("--lights makes its own data set; use it without --DR")
    lit = dict(DR=f"data/lights-{profile.name}", **profile.lights()) if args.lights else {}
    cfg = profile.config(**lit).replace(**flags)
    step = _Steps(4)
    with step("data"):
        if "DR" not in flags:
            _make_profile_data(profile, cfg, 3 if args.lights else 0)
        print(f"Data: {cfg.DR}")
    with step("training"):
        train_model(cfg)
    # Where z decides when a light switches, the best PSNR of a drawn rollout is luck: the last weights are taken.
    cfg = cfg.replace(ckpt_path=str(Path(cfg.save_root) / "last.ckpt") if args.lights else _best(cfg.save_root))
    with step("validation"):
        validated = validate_model(cfg)
    with step("test"):
        tested = test_model(cfg)
    from labutils.checkpoint import read_history
    from labutils.widgets import write_summary

    out = Path(cfg.save_root)
    history = read_history(out / "history.csv")
    page = write_summary(out / "index.html", cfg, history, validated, tested)
    print(f"Watch prediction | ground truth | pose: {out / 'val' / 'prediction.gif'}, {out / 'test'}/seq*.gif")
    print(f"Scrub through all predictions in a browser: {page}")


class _Steps:
    """Announces the steps of ``run`` and the seconds that each took."""

    def __init__(self, total: int):
        self.total, self.number = total, 0

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self.number += 1
        print(f"Step {self.number}/{self.total}: {name}", flush=True)
        start = time.perf_counter()
        yield
        print(f"Step {self.number}/{self.total}: {name} took {time.perf_counter() - start:.0f} s\n", flush=True)


def _make_profile_data(profile: Profile, cfg: LabConfig, lights: int) -> None:
    """Make the profile's dance; one that lies there complete is left alone."""
    from labutils import dance

    dance.make_data(cfg.DR, *profile.sizes, workers=cfg.num_workers, progress=not cfg.quiet, lights=lights)


# ------------------------------------------------------------------------------------------ what the commands share


def _settings_of(*groups: str) -> list[str]:
    return [f.name for f in dataclasses.fields(LabConfig) if f.metadata["group"] in groups]


def _flags(parser: argparse.ArgumentParser, *names: str, hide_others: bool = False, **help_texts: str) -> None:
    """Give a parser the flags of these settings, some with a help text of their own.

    A flag that is not given is absent from the parsed namespace, so that a profile or a checkpoint may decide it.

    Args:
        hide_others: accept the flags of all other settings too, without showing them in the help.
    """
    sections: dict[str, Any] = {}
    for f in dataclasses.fields(LabConfig):
        if f.name not in names and not hide_others:
            continue
        group = f.metadata["group"]
        if group not in sections:
            sections[group] = parser.add_argument_group(group)
        text = f"{f.metadata['help']} (default: {f.default})".replace("%", "%%")
        options: dict[str, Any] = {"default": argparse.SUPPRESS, "help": help_texts.get(f.name, text)}
        if f.name not in names:
            options["help"] = argparse.SUPPRESS
        kind: Any = typing.get_args(f.type)[0] if isinstance(f.type, types.UnionType) else f.type
        if kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        elif typing.get_origin(kind) is Literal:
            options["choices"] = typing.get_args(kind)
            options["type"] = foreign.spelled(f.name, options["choices"])
        else:
            options["type"] = kind
            options["metavar"] = {int: "N", float: "X", str: "S" if f.name == "device" else "PATH"}[kind]
        sections[group].add_argument(f"--{f.name}", **options)


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """The settings among the flags."""
    return {name: value for name, value in vars(args).items() if name in _settings_of(*GROUPS)}


def _config(args: argparse.Namespace, checkpoint: bool = False, resume: bool = False) -> LabConfig:
    """The settings of a command: its flags, on top of those of the checkpoint where it reads one.

    Where things go and what they run on is never taken from a checkpoint.

    Args:
        checkpoint: the command needs a checkpoint; without --ckpt_path it is the best one in save_root.
        resume: --ckpt_path may be given.
    """
    foreign.settle(args, [name for name in _settings_of(*GROUPS) if name not in EVALUATION] if checkpoint else ())
    flags = _given(args)
    if checkpoint and "ckpt_path" not in flags:
        flags["ckpt_path"] = _best(flags.get("save_root", LabConfig().save_root))
    if not ((checkpoint or resume) and "ckpt_path" in flags):
        return LabConfig(**flags)
    from labutils.checkpoint import checkpoint_config, read_checkpoint

    here = {name: getattr(LabConfig(), name) for name in [*_settings_of("output"), "num_workers", "compile"]}
    here["save_root"] = str(Path(flags["ckpt_path"]).parent)
    stored = checkpoint_config(read_checkpoint(flags["ckpt_path"]))
    if "DR" not in flags and not any((Path(stored.DR) / part).is_dir() for part in ("train", "val", "test")):
        raise LabError(f"the data for {flags['ckpt_path']} are not in {stored.DR}; say with --DR where they are")
    return stored.replace(**{**here, **flags})


def _best(save_root: str) -> str:
    """best.ckpt, or last.ckpt of a training without validation."""
    best, last = Path(save_root) / "best.ckpt", Path(save_root) / "last.ckpt"
    return str(last if last.is_file() and not best.is_file() else best)
