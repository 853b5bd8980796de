"""Flags of the course's Trainer and Tester lines that are none of the lab's, and what they mean here."""

import argparse
import difflib
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from labutils.errors import LabError

# What is accepted and has nothing to do here, and why.
NEEDLESS = {
    "make_gif": "validate and test always write GIFs",
    "store_visualization": "losses.png, teacher_forcing.png and the GIFs are always written",
    "no_sanity": "there is no sanity check to leave out",
}
ALIASES = {"kl_anneal_type": {"without": "None", "no": "None", "linear": "Monotonic", "cyclic": "Cyclical"}}
OTHERS = {"optim": {"sgd": "is not offered; these networks need adaptive steps: use --optim Adam, AdamW or Muon"}}


def add(parser: argparse.ArgumentParser) -> None:
    """Accept these flags, without showing them in the help."""
    for name in (*NEEDLESS, "test"):
        parser.add_argument(f"--{name}", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--gpu", type=int, nargs="?", const=1, help=argparse.SUPPRESS)
    parser.add_argument("--exp_name", help=argparse.SUPPRESS)


def spelled(name: str, choices: Sequence[str]) -> Callable[[str], str]:
    """A flag's type that takes a choice in any case, and under the names that others give it.

    Raises (when it is called):
        LabError: a choice of others that the lab does not have.
    """
    known = {choice.lower(): choice for choice in choices} | ALIASES.get(name, {})

    def read(text: str) -> str:
        if why := OTHERS.get(name, {}).get(text.lower()):
            raise LabError(f"--{name} {text} {why}")
        return known.get(text.lower(), text)

    return read


def settle(args: argparse.Namespace, unused: Iterable[str] = ()) -> None:
    """Turn these flags into the lab's, and say what each means here in a line on stderr.

    Args:
        unused: settings that this command takes from the checkpoint; they are dropped.

    Raises:
        LabError: a flag has to be replaced by the user.
    """
    given = vars(args)
    notes = [f"--{name} is not needed: {why}" for name, why in NEEDLESS.items() if given.pop(name, False)]
    gpu = given.pop("gpu", None)
    if gpu is not None and gpu not in (0, 1):
        several = f"for {gpu} GPUs start `torchrun --nproc-per-node {gpu} -m labutils train ...`"
        raise LabError(f"--gpu {gpu} is not a flag of the lab: {several}, for GPU number {gpu} use --device cuda:{gpu}")
    if gpu is not None:
        notes.append(
            "--gpu is not needed: --device auto (the default) takes a GPU where there is one; or --device cuda:1"
        )
    if name := given.pop("exp_name", None):
        args.save_root = str(Path(given.get("save_root", "outputs")) / name)
        notes.append(f"--exp_name is a folder of save_root: {args.save_root}")
    if dropped := [f"--{name}" for name in unused if name in given]:
        for flag in dropped:
            del given[flag[2:]]
        notes.append(f"not used, for the checkpoint says it: {', '.join(dropped)}")
    elif given.get("kl_anneal_ratio") == 0:
        if given.get("kl_anneal_type", "None") != "None" or given.get("ckpt_path"):
            instead = "--kl_anneal_type None keeps beta at kl_anneal_stop; --kl_anneal_stop 0 trains without KL"
            raise LabError(f"--kl_anneal_ratio 0 leaves no part of a cycle in which beta rises: {instead}")
        del args.kl_anneal_ratio
        notes.append("--kl_anneal_ratio is not used without --kl_anneal_type Cyclical or Monotonic")
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def nearest(unknown: Sequence[str], parser: argparse.ArgumentParser) -> str:
    """What a parser says of words that it does not know."""
    known = sorted({flag for action in parser._actions for flag in action.option_strings})
    hints = []
    for word in unknown:
        close = difflib.get_close_matches(word.split("=")[0], known, 1) if word.startswith("--") else []
        hints += [f"did you mean {close[0]} for {word.split('=')[0]}?"] if close else []
    return f"unrecognized arguments: {' '.join(unknown)}" + ("; " + " ".join(hints) if hints else "")
