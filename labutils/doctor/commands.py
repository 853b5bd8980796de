"""``python -m labutils doctor``: what is wrong with my run?"""

import argparse
import textwrap
from pathlib import Path


def doctor_arguments(parser: argparse.ArgumentParser) -> None:
    """say what is wrong with a run, with the evidence"""
    parser.description = """
Look for the faults that runs of this assignment have, in what a run left: a checkpoint (ours or the course's), a
history (history.csv, another CSV or JSON with columns such as epoch, loss, mse, kl, beta, tfr, lr, psnr, or what the
course's trainer shows on the terminal, saved as a text), a psnr.json, a submission.csv, Python files, or a folder of
them. With --DR the network and the data are tried too. Nothing that is found in them is executed.
The exit status is 1 where something was found, and 0 where nothing was.

example:  python -m labutils doctor outputs --DR data/dance
          python -m labutils doctor ckpts/epoch=30.ckpt --DR data/course --psnr 38.2
writes:   nothing"""
    parser.add_argument(
        "path", type=Path, metavar="PATH", help="checkpoint, history, submission, Python file or folder"
    )
    parser.add_argument("--DR", type=Path, metavar="PATH", help="data root; what needs it is not looked for without it")
    parser.add_argument("--psnr", type=float, metavar="X", help="validation PSNR in dB that the run reported")
    parser.add_argument(
        "--output", choices=["linear", "sigmoid"], default="linear",
        help="a course checkpoint whose generator was made to end in a sigmoid: its weights cannot tell (%(default)s)",
    )  # fmt: skip


def doctor(args: argparse.Namespace) -> int:
    from labutils.doctor import CATALOGUE, examine

    case, findings, missing = examine(args.path, args.DR, args.psnr, args.output)
    print("\n".join(f"Read {seen}" for seen in case.seen))
    for number, finding in enumerate(findings, start=1):
        print(f"\n{number}. {finding.title}")
        for name, text in (("evidence", finding.evidence), ("to do", finding.todo)):
            print(textwrap.fill(text, 116, initial_indent=f"   {name + ':':10}", subsequent_indent=" " * 13))
    if not findings:
        print(f"\nnothing found (of {len(CATALOGUE) - len(missing)} things that were looked for)")
    if missing:
        print("\nNot looked for:")
        print("\n".join(f"   {CATALOGUE[name][0]}: needs {needs}" for name, needs in missing.items()))
    return 1 if findings else 0
