"""The commands ``report`` and ``pack``."""

import argparse
import contextlib
import os
import shlex
from pathlib import Path

from labutils.errors import LabError
from labutils.places import MODULE, module

PROG = "python -m labutils"


def report_arguments(parser: argparse.ArgumentParser) -> None:
    """collect your figures, your code and your words into the report"""
    parser.description = """
Make the report that the assignment grades: each section with its figures from your runs and its code from your module.
Your words stand in report.md, one heading for each section; they are never changed, so run this again at any time.
What is missing is marked in the page, with the command that makes it. The PDF is printed by chromium where one is
installed; else print report.html to report.pdf in a browser.

example:  python -m labutils report --save_root ckpts --name "Ada Lovelace" --student_id 0123456
writes:   save_root/report.md (only what it lacks), report.html, report.pdf"""
    _author(parser)
    parser.add_argument(
        "--annealing", nargs="+", metavar="DIR", default=[],
        help="folders of runs with monotonic, cyclical and no KL annealing (default: looked for below outputs)",
    )  # fmt: skip
    _module(parser)


def report(args: argparse.Namespace) -> None:
    from labutils import lab
    from labutils.files import atomic_file
    from labutils.handin.archive import archive_name
    from labutils.handin.evidence import collect, excerpts, find_runs, given_runs
    from labutils.handin.page import print_pdf, render
    from labutils.handin.sections import keep_words

    root = _root(args)
    archive_name(args.student_id, args.name)  # so that a name which cannot be packed is known at once
    if args.annealing:
        runs = given_runs([Path(folder) for folder in args.annealing])
    else:
        runs, sets = find_runs(lab.home() / "outputs")
        if runs:
            places = shlex.join(str(_near(folder)) for folder, _ in runs.values())
            print(f"KL annealing: {places}" + (f" (one of {sets} such sets)" if sets > 1 else ""))
    evidence = collect(root, runs)
    source = root / "report.md"
    new = not source.is_file()
    words = keep_words(source)
    for key, code in excerpts(_module_of(args), words).items():
        evidence[key] = [*code, *evidence[key]]
    text, missing = render(args.name, args.student_id, source, words, evidence)
    page, pdf = root / "report.html", root / "report.pdf"
    with atomic_file(page) as file:
        file.write(text.encode())
    why_not = print_pdf(page, pdf)
    print(f"Wrote {'report.md, ' * new}report.html{'' if why_not else ', report.pdf'} in {root}")
    if why_not:
        print(f"No PDF, for {why_not}: open {page} in a browser and print it to {pdf}")
    if missing:
        print(f"Missing, and marked in the report ({len(missing)} places):")
        for what in dict.fromkeys(what for _, what in missing):
            print(f"- {what}: {'; '.join(title for title, lack in missing if lack == what)}")
    else:
        author = ["--save_root", str(root), "--name", args.name, "--student_id", args.student_id]
        print(f"Nothing is missing. Read it, then: {PROG} pack {shlex.join(author)}")


def pack_arguments(parser: argparse.ArgumentParser) -> None:
    """make the archive to hand in, unless something is still missing"""
    parser.description = """
Make LAB4_{student_id}_{name}.zip as the assignment asks for it: report.pdf, source/ with the notebooks (whose exercises
`grade` reads), your module and labutils, and submission.csv where the tester wrote one. As long as the report holds a
placeholder, or its PDF is missing or out of date, it says so and writes nothing.

example:  python -m labutils pack --save_root ckpts --name "Ada Lovelace" --student_id 0123456
writes:   save_root/LAB4_{student_id}_{name}.zip"""
    _author(parser)
    parser.add_argument("--notebooks", metavar="DIR", help="folder of your notebooks (default: the project's)")
    _module(parser)
    parser.add_argument("--report", metavar="PATH", help="a PDF written otherwise, in place of save_root/report.pdf")


def pack(args: argparse.Namespace) -> None:
    from labutils.handin.archive import archive_name, contents, no_pdf, objections, write_archive

    root = _root(args)
    path = root / archive_name(args.student_id, args.name)
    pdf = Path(args.report) if args.report else root / "report.pdf"
    files = contents(pdf, root / "test" / "submission.csv", _place(args.notebooks, MODULE.parent), _module_of(args))
    wrong = list(filter(None, [no_pdf(pdf)])) if args.report else objections(root, args.name, args.student_id)
    books = sum(inside.endswith(".ipynb") for inside in files)
    if not books:
        wrong.append(f"{_place(args.notebooks, MODULE.parent)} holds no notebooks; name their folder with --notebooks")
    if wrong:
        raise LabError("\n".join(["nothing was packed:", *(f"- {line}" for line in wrong)]))
    write_archive(path, files)
    print(f"{path}: report.pdf, {books} notebooks, {len(files)} files, {path.stat().st_size / 1e6:.1f} MB")


# ---------------------------------------------------------------------------------------------- what both share


def _author(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--save_root", default="outputs", metavar="DIR", help="folder of your run (%(default)s)")
    parser.add_argument("--name", required=True, metavar="NAME", help="your name, in any script")
    parser.add_argument("--student_id", required=True, metavar="ID", help="your student number")


def _module(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--module", metavar="PATH", help=f"your own module (default: {MODULE.as_posix()})")


def _root(args: argparse.Namespace) -> Path:
    root = Path(args.save_root)
    if not root.is_dir():
        raise LabError(f"{root} is missing; name the folder of a run: the --save_root of train, validate and test")
    return root


def _module_of(args: argparse.Namespace) -> Path:
    """The learner's module: --module, else the one that the checks write."""
    return Path(args.module) if args.module else _near(module())


def _place(given: str | None, default: Path) -> Path:
    """A path that was given, else one below the project's folder."""
    from labutils import lab

    return Path(given) if given else _near(lab.home() / default)


def _near(path: Path) -> Path:
    """A path as it is written from here, where that is shorter."""
    with contextlib.suppress(ValueError):  # another drive
        return min(path, Path(os.path.relpath(path)), key=lambda p: len(str(p)))
    return path
