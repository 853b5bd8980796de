"""The instructor's commands: for each, a function that adds its flags to a parser, and one that runs it.

``labutils.__main__`` lists them where this package is there, which the student edition lacks.
"""

import argparse
from pathlib import Path


def notebooks_arguments(parser: argparse.ArgumentParser) -> None:
    """run the notebooks and store their outputs, or check what is stored"""
    parser.description = """
Run each notebook in a fresh kernel and store it with its outputs, without widget state, time stamps or absolute paths.
One that ends in an error, or writes to stderr, is left as it was. LAB_PROFILE chooses the profile (quick on a CPU).
NAME is a number (3), a name (03_reparameterization) or a path; default: all.

example:  python -m labutils notebooks
          python -m labutils notebooks 3 4
          python -m labutils notebooks --check
writes:   notebooks/*.ipynb; with --check nothing"""
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; default: all")
    parser.add_argument("--check", action="store_true", help="run nothing; say what is wrong with the stored ones")
    parser.add_argument("--timeout", type=float, default=1800, metavar="X", help="seconds for one cell (%(default)s)")


def notebooks(args: argparse.Namespace) -> None:
    """Store notebooks, or check them."""
    from labutils.teach import execution, rules
    from labutils.teach.notebooks import find

    rules.check(find(args.names)) if args.check else execution.store(find(args.names), args.timeout)


def student_arguments(parser: argparse.ArgumentParser) -> None:
    """make the folder to hand out: the notebooks without solutions"""
    parser.description = """
Write the student edition: the notebooks with every block SOLUTION replaced and all outputs removed, labutils, and
what `make setup` and `make lab` need. The tests stay behind: they hold answers.

example:  python -m labutils student --out student
          python -m labutils student --out student --try
writes:   DIR, which is replaced where it holds an earlier student edition"""
    parser.add_argument("--out", default="student", metavar="DIR", help="folder to make (default: %(default)s)")
    parser.add_argument("--try", action="store_true", dest="run", help="then run it: every exercise must be to do")


def student(args: argparse.Namespace) -> None:
    """Write the student edition, and try it."""
    from labutils.teach.student import try_student, write_student

    written = write_student(Path(args.out))
    print(f"{args.out}: {len(written)} notebooks without solutions, ready for `make setup`", flush=True)
    if args.run:
        try_student(written)


def grade_arguments(parser: argparse.ArgumentParser) -> None:
    """grade the exercises of submissions"""
    parser.description = """
Take the answer cells of each submission into our own notebooks, run those with other random inputs than the students
had, and count the checks that pass. SUBMISSIONS is a folder with one folder, zip or notebook for each student, or a
single submission. This runs the students' code with your rights: use a container, or an account of its own.

example:  python -m labutils grade submissions --out grades.csv
          python -m labutils grade notebooks
writes:   FILE (a row for each student: 1 or 0 for each exercise, and why)"""
    parser.add_argument("submissions", metavar="SUBMISSIONS", help="folder of submissions, or one submission")
    parser.add_argument("--out", default="outputs/grades.csv", metavar="FILE", help="table (default: %(default)s)")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of the checks' inputs (default: drawn, printed)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="submissions at the same time (%(default)s)")
    parser.add_argument("--cell_timeout", type=float, default=60, metavar="X", help="seconds for a cell (%(default)s)")
    parser.add_argument("--timeout", type=float, default=900, metavar="X", help="seconds for a notebook (%(default)s)")


def grade(args: argparse.Namespace) -> None:
    """Grade submissions."""
    from labutils.teach import grading

    limits = grading.Limits(args.cell_timeout, args.timeout)
    grading.grade(Path(args.submissions), Path(args.out), args.seed, limits, args.jobs)
    print(f"Wrote {args.out}")


def html_arguments(parser: argparse.ArgumentParser) -> None:
    """export the notebooks as a site of static pages"""
    parser.description = """
Run the notebooks and write them as pages that need neither kernel nor network; the widgets that work alone are alive
in them. Models that were trained before are used again.

example:  python -m labutils html --out site
writes:   DIR/index.html and a page for each notebook"""
    parser.add_argument("--out", default="site", metavar="DIR", help="folder to write to (default: %(default)s)")
    parser.add_argument("--stored", action="store_true", help="run nothing: the stored outputs, widgets as pictures")


def html(args: argparse.Namespace) -> None:
    """Write the site."""
    from labutils.teach.site import write_site

    print(f"Open {write_site(Path(args.out), run=not args.stored)}")
