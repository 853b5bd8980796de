"""The commands: ``python -m labutils COMMAND ...`` (or ``labutils COMMAND ...``).

The flags are the fields of ``LabConfig``; what a command prints and writes stands in its ``--help``.
"""

import argparse
import contextlib
import dataclasses
import errno
import importlib
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labutils.config import PROFILES, LabConfig, Profile, add_flags, default_profile, flags_given
from labutils.errors import LabError

if TYPE_CHECKING:  # a command imports what it needs when it runs, so that --help is there at once
    from labutils.distributed import Ranks
    from labutils.evaluation import Report
    from labutils.images import Video

PROG = "python -m labutils"
GROUPS = ("data", "model", "training", "schedules", "output")
RESULTS = (
    "history.csv",
    "last.ckpt",
    "best.ckpt",
    "losses.png",
    "teacher_forcing.png",
    "val",
    "test",
    "index.html",
)  # what one run writes


# --------------------------------------------------------------------------------------------------------- make-data


def make_data_arguments(parser: argparse.ArgumentParser) -> None:
    """make a synthetic dance in the course's folder layout"""
    parser.description = """
Render a synthetic dance: a jointed figure in a lit room and its pose images, in the course's folder layout, with the
true test frames and the hidden factor (the room light) beside them. The same seed gives the same bytes.

example:  python -m labutils make-data --out data/dance --profile quick
writes:   DIR/train, DIR/val, DIR/test (PNG images, light*.csv)"""
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
    _flags(parser, "num_workers", "quiet")


def make_data(args: argparse.Namespace) -> None:
    from labutils.dance import stage

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
    out = stage.make_data(args.out, **sizes, seed=args.seed, workers=cfg.num_workers, progress=not cfg.quiet)
    print(f"{out}: {_sizes(sizes)}")


def _sizes(sizes: dict[str, int]) -> str:
    text = "{train} training and {val} validation frames, {test_sequences} test sequences of {test_frames}"
    return text.format(**sizes)


# ------------------------------------------------------------------------------------------------------------- stats


def stats_arguments(parser: argparse.ArgumentParser) -> None:
    """compare data sets by their statistics"""
    parser.description = """
Print what makes a data set easy or hard, one column for each --DR: the PSNR of copying the first frame, of copying
the last frame and of the mean frame, and how much of the picture the person covers.

example:  python -m labutils stats --DR data/dance --DR data/course
writes:   nothing"""
    parser.add_argument(
        "--DR", action="append", required=True, metavar="PATH", help="data root; give several to compare"
    )


def stats(args: argparse.Namespace) -> None:
    from labutils.dance import stage

    stage.print_stats(args.DR)


# ------------------------------------------------------------------------------------------------------------- train


def train_arguments(parser: argparse.ArgumentParser) -> None:
    """train the conditional VAE"""
    parser.description = """
Train on DR/train and validate on DR/val now and then. Ctrl-C stops and keeps last.ckpt.
--ckpt_path goes on with a run, with its settings where no flag says otherwise (the course's checkpoints too).
Results of another run that lie in save_root are moved to save_root/previous-1, previous-2 ...: nothing is lost.

example:  python -m labutils train --DR data/dance --save_root ckpts --fast_train
          python -m labutils train --DR data/dance --save_root ckpts --minutes 1.5
          python -m labutils train --ckpt_path ckpts/last.ckpt --num_epoch 100
          torchrun --nproc-per-node 4 -m labutils train --DR data/dance --save_root ckpts
writes:   save_root/history.csv, last.ckpt (to go on from), best.ckpt (best on validation), losses.png,
          teacher_forcing.png"""
    _flags(parser, *_settings_of(*GROUPS), save_root="where to write (default: the checkpoint's folder, else outputs)")


def train(args: argparse.Namespace) -> None:
    _train(_config(args, resume=True))


def _train(cfg: LabConfig) -> None:
    from labutils.distributed import ranks

    with ranks(cfg.device) as here:
        _train_on(here, cfg)


def _train_on(ranks: "Ranks", cfg: LabConfig) -> None:
    import torch

    from labutils.dataset import load_split
    from labutils.model import ConditionalVAE
    from labutils.show import figures as plotting
    from labutils.training import ProgressBar, fit

    data = load_split(cfg.DR, "train", cfg)
    val = load_split(cfg.DR, "val", cfg) if (Path(cfg.DR) / "val").is_dir() else None
    torch.manual_seed(cfg.seed)
    model = ConditionalVAE(cfg)
    save_root = Path(cfg.save_root)
    if ranks.first:
        if not (cfg.ckpt_path and Path(cfg.ckpt_path).resolve().parent == save_root.resolve()):
            _set_aside(save_root)
        length = f"{cfg.minutes:g} minutes" if cfg.minutes is not None else f"{cfg.num_epoch} epochs"
        times = f"{ranks.world} x " if ranks.world > 1 else ""
        print(
            f"Training on {len(data.labels)} frames of {cfg.DR}, {length} on {times}{ranks.device.type}: "
            f"variant {cfg.variant}, {model.num_parameters():,} parameters"
        )
        if val is None:
            print(f"{Path(cfg.DR) / 'val'} is missing: training without validation")
        if cfg.ckpt_path:
            print(f"Going on from {cfg.ckpt_path}")
        sys.stdout.flush()
    try:
        history = fit(model, data, val, cfg, [] if cfg.quiet else [ProgressBar()], cfg.ckpt_path, ranks)
    except KeyboardInterrupt:
        if ranks.first and (save_root / "last.ckpt").is_file():
            print(f"\nStopped; go on with: {PROG} train --ckpt_path {save_root / 'last.ckpt'}", file=sys.stderr)
        raise
    if ranks.first:
        plotting.save(plotting.loss_curves(history), save_root / "losses.png")
        plotting.save(plotting.tfr_and_loss(history), save_root / "teacher_forcing.png")
        written = [name for name in RESULTS if (save_root / name).is_file()]
        print(f"Wrote {', '.join(written)} in {save_root}")


def _set_aside(save_root: Path) -> None:
    """Move the results of an earlier run to the first free save_root/previous-N, so that a new run loses nothing."""
    old = [save_root / name for name in RESULTS if (save_root / name).exists()]
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
and each predicted frame is fed back. Prints mean PSNR and SSIM beside three baselines: copying the first frame, the
mean training frame, and (unfair: it sees true frames) copying the last true frame.

example:  python -m labutils validate --DR data/dance --ckpt_path ckpts/best.ckpt --save_root ckpts
writes:   save_root/val/psnr.json, val/psnr.png (PSNR of each frame), val/prediction.gif (prediction | truth | pose)"""
    _flags(
        parser, "DR", "val_vi_len", "num_workers", "seed", "save_root", "ckpt_path", "device", "quiet",
        DR="data root (default: as in training)",
        seed="seed of the latents that are drawn from the prior (default: as in training)",
        save_root="where to write (default: the checkpoint's folder, else outputs)",
        ckpt_path="checkpoint, ours or the course's (default: best.ckpt in save_root)",
        val_vi_len="frames of the validation video that are used (default: as in training)",
    )  # fmt: skip


def validate(args: argparse.Namespace) -> None:
    _validate(_config(args, checkpoint=True))


def _validate(cfg: LabConfig) -> "tuple[Report, Video]":
    from labutils.dataset import load_split
    from labutils.evaluation import evaluate
    from labutils.show import figures as plotting
    from labutils.show.video import write_gif

    model = _load(cfg)
    val, mean_frame = load_split(cfg.DR, "val", cfg), _mean_frame(cfg)
    out = _folder(cfg, "val")
    report = evaluate(model, [val], mean_frame, cfg.seed, progress=not cfg.quiet)
    report.save(out / "psnr.json")
    (sequence,) = report.sequences
    plotting.save(plotting.psnr_per_frame({"prediction": sequence.psnr}, sequence.baselines), out / "psnr.png")
    write_gif(out / "prediction.gif", _panels(sequence.prediction, val))
    title = f"Validation, {len(sequence.psnr)} predicted frames: PSNR {report.average:.2f} dB, SSIM {report.ssim:.3f}"
    print("\n".join([title, *report.baseline_lines(), f"Wrote psnr.json, psnr.png and prediction.gif in {out}"]))
    return report, val


def test_arguments(parser: argparse.ArgumentParser) -> None:
    """predict all test sequences, print the assignment's table and the grade"""
    parser.description = """
Predict every sequence of DR/test from its first frame and its pose images, and score those whose true frames are known
(test/test_gt or Demo_Test/GT{k}.csv). Sequences are counted from 1 in the table; files keep the folder's number k.

example:  python -m labutils test --DR data/dance --ckpt_path ckpts/best.ckpt --save_root ckpts --submission
writes:   save_root/test/psnr.json, test/seq{k}.gif, with --submission test/submission.csv (one row a frame)"""
    _flags(
        parser, "DR", "num_workers", "seed", "save_root", "ckpt_path", "device", "quiet",
        DR="data root (default: as in training)",
        seed="seed of the latents that are drawn from the prior (default: as in training)",
        save_root="where to write (default: the checkpoint's folder, else outputs)",
        ckpt_path="checkpoint, ours or the course's (default: best.ckpt in save_root)",
    )  # fmt: skip
    parser.add_argument("--submission", action="store_true", help="write submission.csv, as later editions ask for it")


def test(args: argparse.Namespace) -> None:
    _test(_config(args, checkpoint=True), args.submission)


def _test(cfg: LabConfig, submission: bool = False) -> "tuple[Report, list[Video]]":
    from labutils.dataset import load_test
    from labutils.evaluation import evaluate, write_submission
    from labutils.show.video import write_gif

    model = _load(cfg)
    videos, mean_frame = load_test(cfg.DR, cfg), _mean_frame(cfg)
    out = _folder(cfg, "test")
    report = evaluate(model, videos, mean_frame, cfg.seed, progress=not cfg.quiet)
    written = ["psnr.json"]
    report.save(out / "psnr.json")
    for video, sequence in zip(videos, report.sequences, strict=True):
        written.append(f"seq{video.name}.gif")
        write_gif(out / written[-1], _panels(sequence.prediction, video))
    if submission:
        written.append("submission.csv")
        write_submission(out / "submission.csv", [sequence.prediction for sequence in report.sequences])
    print("\n".join([report.table(), f"Wrote {', '.join(written)} in {out}"]))
    return report, videos


# --------------------------------------------------------------------------------------------------------------- run


def run_arguments(parser: argparse.ArgumentParser) -> None:
    """everything: make data, train, validate, test"""
    parser.description = """
The whole path in four steps: make the profile's synthetic data (unless it is there), train, validate, test. The
profile is --profile, else the variable LAB_PROFILE, else full with CUDA and quick without. All flags of train work
too; with --DR an existing data set is used. An earlier run in save_root is moved to previous-1, previous-2 ...

example:  python -m labutils run --profile quick
          python -m labutils run --DR data/course --minutes 5 --save_root outputs/course
writes:   data/dance-PROFILE, and in save_root (outputs) what train, validate and test write, and index.html: a page to
          scrub through all predictions, with the table and the curves"""
    parser.add_argument("--profile", choices=PROFILES, help="size of the job")
    shown = ("DR", "minutes", "seed", "num_workers", *(n for n in _settings_of("output") if n != "ckpt_path"))
    _flags(
        parser, *shown, hide_others=True,
        DR="data root, which must exist (default: data/dance-PROFILE, made by this command)",
        minutes="minutes of training (default: the profile's)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    profile = PROFILES[args.profile] if args.profile else default_profile()
    flags = _given(args)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise LabError("run is for one process; with torchrun use train, then validate and test without torchrun")
    if "ckpt_path" in flags:
        raise LabError("run trains a new model and takes no --ckpt_path; use train, validate and test")
    cfg = profile.config(**flags)
    step = _Steps(4)
    with step("data"):
        if "DR" not in flags:
            _make_profile_data(profile, cfg)
        print(f"Data: {cfg.DR}")
    with step("training"):
        _train(cfg)
    cfg = cfg.replace(ckpt_path=_best(cfg.save_root))
    with step("validation"):
        validated = _validate(cfg)
    with step("test"):
        tested = _test(cfg)
    from labutils.training import read_history
    from labutils.widgets.results import write_summary

    out = Path(cfg.save_root)
    page = write_summary(out / "index.html", cfg, read_history(out / "history.csv"), validated, tested)
    print(f"Watch prediction | truth | pose: {out / 'val' / 'prediction.gif'}, {out / 'test'}/seq*.gif")
    print(f"Scrub through all predictions in a browser: {page}")


class _Steps:
    """Announces the steps of ``run`` and the seconds that each took."""

    def __init__(self, total: int):
        self.total, self.number = total, 0

    @contextlib.contextmanager
    def __call__(self, name: str) -> Any:
        self.number += 1
        print(f"Step {self.number}/{self.total}: {name}", flush=True)
        start = time.perf_counter()
        yield
        print(f"Step {self.number}/{self.total}: {name} took {time.perf_counter() - start:.0f} s\n", flush=True)


def _make_profile_data(profile: Profile, cfg: LabConfig) -> None:
    """Make the profile's dance; one that lies there complete is left alone."""
    from labutils.dance import stage

    sizes = profile.train_frames, profile.val_frames, profile.test_sequences, profile.test_frames
    stage.make_data(cfg.DR, *sizes, workers=cfg.num_workers, progress=not cfg.quiet)


# ------------------------------------------------------------------------------------------ what the commands share


def _settings_of(*groups: str) -> list[str]:
    return [f.name for f in dataclasses.fields(LabConfig) if f.metadata["group"] in groups]


def _flags(parser: Any, *names: str, hide_others: bool = False, **help_texts: str) -> None:
    """Give a parser the flags of these settings, some with a help text of their own.

    Args:
        hide_others: accept the flags of all other settings too, without showing them in the help.
    """

    class Chosen:
        def add_argument_group(self, title: str) -> "Chosen":
            self.section = parser.add_argument_group(title)
            return self

        def add_argument(self, flag: str, **options: Any) -> None:
            name = flag.removeprefix("--")
            if name in names:
                self.section.add_argument(flag, **{**options, "help": help_texts.get(name, options["help"])})
            elif hide_others:
                self.section.add_argument(flag, **{**options, "help": argparse.SUPPRESS})

    add_flags(Chosen(), GROUPS)


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """The settings among the flags; --num_epoch alone replaces the minutes of a profile or a checkpoint."""
    flags = flags_given(args)
    return {"minutes": None, **flags} if "num_epoch" in flags else flags


def _config(args: argparse.Namespace, checkpoint: bool = False, resume: bool = False) -> LabConfig:
    """The settings of a command: its flags, on top of those of the checkpoint where it reads one.

    Where things go and what they run on is never taken from a checkpoint.

    Args:
        checkpoint: the command needs a checkpoint; without --ckpt_path it is the best one in save_root.
        resume: --ckpt_path may be given.
    """
    flags = _given(args)
    if checkpoint and "ckpt_path" not in flags:
        flags["ckpt_path"] = _best(flags.get("save_root", LabConfig().save_root))
    if not ((checkpoint or resume) and "ckpt_path" in flags):
        return LabConfig(**flags)
    from labutils.model import checkpoint_config, read_checkpoint

    here = {name: getattr(LabConfig(), name) for name in [*_settings_of("output"), "num_workers"]}
    here["save_root"] = str(Path(flags["ckpt_path"]).parent)
    return checkpoint_config(read_checkpoint(flags["ckpt_path"])).replace(**{**here, **flags})


def _best(save_root: str) -> str:
    """best.ckpt, or last.ckpt of a training without validation."""
    best, last = Path(save_root) / "best.ckpt", Path(save_root) / "last.ckpt"
    return str(last if last.is_file() and not best.is_file() else best)


def _load(cfg: LabConfig) -> Any:
    from labutils.distributed import select_device
    from labutils.model import load_model

    return load_model(cfg.ckpt_path, select_device(cfg.device))


def _folder(cfg: LabConfig, name: str) -> Path:
    """A folder of save_root; made before the work begins, so that a place that cannot be written is known at once."""
    folder = Path(cfg.save_root) / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _mean_frame(cfg: LabConfig) -> Any:
    """The mean training frame, or None where there is no training folder."""
    from labutils.dataset import load_split
    from labutils.metrics import mean_training_frame

    if not (Path(cfg.DR) / "train").is_dir():
        return None
    return mean_training_frame(load_split(cfg.DR, "train", cfg))


def _panels(prediction: Any, video: "Video") -> dict[str, Any]:
    """The panels of a GIF: prediction | truth, where it is known | pose, each uint8 (T, H, W, 3)."""
    truth = {"truth": video.frames} if video.has_truth else {}
    return {"prediction": prediction, **truth, "pose": video.labels}


# -------------------------------------------------------------------------------------------------------- the parser


Command = tuple[Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], None]]

COMMANDS: dict[str, Command] = {
    "run": (run_arguments, run),
    "make-data": (make_data_arguments, make_data),
    "stats": (stats_arguments, stats),
    "train": (train_arguments, train),
    "validate": (validate_arguments, validate),
    "test": (test_arguments, test),
}
# The instructor's commands, which the student edition lacks: module, its functions for the flags and to run, summary.
TEACH = "labutils.teach.commands"
MODULES: dict[str, tuple[str, str, str, str]] = {
    "notebooks": (
        TEACH,
        "notebooks_arguments",
        "notebooks",
        "run the notebooks and store their outputs, or check them",
    ),
    "student": (TEACH, "student_arguments", "student", "make the folder to hand out: the notebooks without solutions"),
    "grade": (TEACH, "grade_arguments", "grade", "grade the exercises of submissions"),
    "html": (TEACH, "html_arguments", "html", "export the notebooks as a site of static pages"),
    "bench": ("labutils.bench.benchmark", "add_arguments", "main", "measure the course's way of training beside ours"),
}


def _there(name: str) -> bool:
    """Whether this copy of the lab holds the package of one of ``MODULES``."""
    return (Path(__file__).parent / MODULES[name][0].split(".")[1] / "__init__.py").is_file()


def _overview() -> argparse.ArgumentParser:
    summaries = {name: arguments.__doc__ for name, (arguments, _) in COMMANDS.items()}
    summaries |= {name: summary for name, (*_, summary) in MODULES.items() if _there(name)}
    listing = "\n".join(f"  {name:10} {summary}" for name, summary in summaries.items())
    parser = argparse.ArgumentParser(
        prog=PROG,
        usage=f"{PROG} COMMAND [flags]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="A lab on conditional VAEs for video prediction: from pose images to a predicted video.",
        epilog=f"commands:\n{listing}\n\n{PROG} COMMAND --help explains one. A first try: {PROG} run --profile smoke",
    )
    parser.add_argument("command", metavar="COMMAND", choices=list(summaries), help=argparse.SUPPRESS)
    return parser


def _parse(argv: Sequence[str]) -> tuple[Callable[[argparse.Namespace], None], argparse.Namespace]:
    """The function of the command that is asked for, and its parsed flags."""
    if argv and argv[0] in MODULES and not _there(argv[0]):
        raise LabError(f"the command {argv[0]} is part of the instructor's edition; this is the student edition")
    overview = _overview()
    if not argv:
        overview.print_help()
        raise SystemExit(2)
    name = overview.parse_args(argv[:1]).command
    if name in COMMANDS:
        add_arguments, function = COMMANDS[name]
    else:
        place, arguments, run, _ = MODULES[name]
        module = importlib.import_module(place)
        add_arguments, function = getattr(module, arguments), getattr(module, run)
    parser = argparse.ArgumentParser(
        prog=f"{PROG} {name}", usage=f"{PROG} {name} [flags]", formatter_class=_Help, allow_abbrev=False
    )
    add_arguments(parser)
    return function, parser.parse_args(argv[1:])


class _Help(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of a description; the flags and their texts share a wide screen."""

    def __init__(self, prog: str, **options: Any):
        super().__init__(prog, max_help_position=32, **options)


def _refusal(error: OSError | RuntimeError) -> str | None:
    """What to tell about an error that lies in the surroundings; None where it looks like a fault of the lab."""
    if type(error).__name__ == "OutOfMemoryError":  # torch's; without importing torch
        return "the GPU's memory is full; choose a smaller --batch_size or another --device"
    cause = error if isinstance(error, OSError) else error.__context__  # torch.save wraps that of a full disk
    if not isinstance(cause, OSError):
        return None
    if cause.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left on the disk{f' for {cause.filename}' if cause.filename else ''}; make room there"
    if cause.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST):
        return f"cannot write {cause.filename}: {cause.strerror}; choose another folder"
    return None


def _stop(signum: int, frame: Any) -> None:
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0; 2 when something in the user's input or surroundings is wrong (one line on stderr says what); 130 when it was
        stopped by Ctrl-C or SIGTERM.
    """
    with contextlib.suppress(ValueError):  # not in the main thread: then nobody sends signals either
        signal.signal(signal.SIGTERM, _stop)  # what a batch system sends before it kills
    try:
        function, args = _parse(sys.argv[1:] if argv is None else argv)
        function(args)
        sys.stdout.flush()
        return 0
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe has gone, as in `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, RuntimeError) as error:
        text = _refusal(error)
        if text is None:
            raise
        print(f"error: {text}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
