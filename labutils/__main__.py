"""``python -m labutils COMMAND ...`` (or ``labutils COMMAND ...``): finds the command; errors become one line."""

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from labutils.errors import LabError
from labutils.foreign import nearest
from labutils.signals import end_like_ctrl_c

PROG = "python -m labutils"
# Name, where its functions NAME_arguments and NAME are, summary.  The student edition has neither teach nor bench.
COMMANDS = {
    "run": ("labutils.commands", "everything: make data, train, validate, test"),
    "make-data": ("labutils.commands", "make a synthetic dance in the course's folder layout"),
    "stats": ("labutils.commands", "compare data sets by their statistics"),
    "train": ("labutils.commands", "train the conditional VAE"),
    "validate": ("labutils.commands", "predict the validation video from its first frame and measure PSNR and SSIM"),
    "test": ("labutils.commands", "predict all test sequences, print the assignment's table and the grade"),
    "report": ("labutils.handin.commands", "collect your figures, your code and your words into the report"),
    "pack": ("labutils.handin.commands", "make the archive to hand in, unless something is still missing"),
    "doctor": ("labutils.doctor.commands", "say what is wrong with a run, with the evidence"),
    "check": ("labutils.checks.progress", "say which exercises are passed, to do or wrong"),
    "notebooks": ("labutils.teach.commands", "run the notebooks and store their outputs, or check what is stored"),
    "student": ("labutils.teach.commands", "make the folder to hand out: the notebooks without solutions"),
    "grade": ("labutils.teach.commands", "grade the exercises of submissions"),
    "html": ("labutils.teach.commands", "export the notebooks as a site of static pages"),
    "bench": ("labutils.bench.commands", "measure the course's way of training beside ours"),
    "study": ("labutils.bench.study", "measure what z does, over several seeds"),
    "faults": ("labutils.bench.faults", "spoil files, fill the disk and kill processes, and count what goes wrong"),
}


def _there(name: str) -> bool:
    """Whether this copy of the lab holds the room of a command."""
    return Path(__file__).parents[1].joinpath(*COMMANDS[name][0].split(".")).with_suffix(".py").is_file()


def _overview() -> argparse.ArgumentParser:
    names = [name for name in COMMANDS if _there(name)]
    listing = "\n".join(f"  {name:10} {COMMANDS[name][1]}" for name in names)
    parser = argparse.ArgumentParser(
        prog=PROG,
        usage=f"{PROG} COMMAND [flags]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="A lab on conditional VAEs for video prediction: from pose images to a predicted video.",
        epilog=f"commands:\n{listing}\n\n{PROG} COMMAND --help explains one. A first try: {PROG} run --profile smoke",
    )
    parser.add_argument("command", metavar="COMMAND", choices=names, help=argparse.SUPPRESS)
    return parser


def parse(argv: Sequence[str]) -> tuple[Callable[[argparse.Namespace], int | None], argparse.Namespace]:
    """The function of the command that is asked for, and its parsed flags.

    Raises:
        LabError: this copy of the lab does not hold the command.
        SystemExit: help was asked for, or the flags are wrong.
    """
    if argv and argv[0] in COMMANDS and not _there(argv[0]):
        raise LabError(f"the command {argv[0]} is part of the instructor's edition; this is the student edition")
    overview = _overview()
    if not argv:
        overview.print_help()
        raise SystemExit(2)
    name = overview.parse_args(argv[:1]).command
    module, function = importlib.import_module(COMMANDS[name][0]), name.replace("-", "_")
    parser = argparse.ArgumentParser(
        prog=f"{PROG} {name}", usage=f"{PROG} {name} [flags]", formatter_class=_Help, allow_abbrev=False
    )
    getattr(module, f"{function}_arguments")(parser)
    args, unknown = parser.parse_known_args(argv[1:])
    if unknown:
        parser.error(nearest(unknown, parser))
    return getattr(module, function), args


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
        return f"no access to {cause.filename}: {cause.strerror}; change its permissions or choose another folder"
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0, or what the command returns; 2 when something in the user's input or surroundings is wrong (one line on
        stderr says what); 130 when it was stopped by Ctrl-C, SIGTERM or SIGHUP.
    """
    end_like_ctrl_c()
    try:
        function, args = parse(sys.argv[1:] if argv is None else argv)
        status = function(args)
        sys.stdout.flush()
        return status or 0
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
