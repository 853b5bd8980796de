"""``python -m labutils check``: which exercises are passed, which are to do, and what is wrong with the others.

No notebook is run for it: that would take minutes, and end at the first cell that is broken.  For each check cell,
``checks.NAME(ANSWER)``, only the statements are run that ANSWER is made of: those that bind a name it reads, those that
bind a name which they read, and so on.  All this happens in a process of its own, which may hang or die.
"""

import argparse
import ast
import builtins
import contextlib
import json
import multiprocessing
import os
import re
import shutil
import symtable
import sys
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from labutils.checks.core import EXERCISES, SEED, CheckFailed, NotDone, told
from labutils.errors import LabError

PASSED, TO_DO, FAILED = "passed", "to do", "failed"


@dataclass(frozen=True)
class Verdict:
    """On one exercise: "passed", "to do" or "failed", and why."""

    number: str
    verdict: str
    why: str = ""


@dataclass(frozen=True)
class Cell:
    """A code cell: its id, its text, and its statements, or why it has none."""

    id: str
    text: str
    body: Sequence[ast.stmt] = ()
    broken: str = ""


# ----------------------------------------------------------------------------------------------------- the command


def check_arguments(parser: argparse.ArgumentParser) -> None:
    """say which exercises are passed, to do or wrong"""
    parser.description = """
Judge the answers in your notebooks as they are saved, without running them: of each notebook only what an answer needs
is run. NAME is a number (3), a name (03_reparameterization) or a path; default: all. The exit status is 1 where an
answer is wrong, and 0 where all are passed or to do.

example:  python -m labutils check
          python -m labutils check 3 4
writes:   nothing"""
    parser.add_argument("names", nargs="*", metavar="NAME", help="which notebooks; default: all")
    parser.add_argument("--timeout", type=float, default=60, metavar="X", help="seconds for one exercise (%(default)s)")


def check(args: argparse.Namespace) -> int:
    """Print the table; 1 where an answer is wrong."""
    count = dict.fromkeys((PASSED, TO_DO, FAILED), 0)
    width = max(60, min(120, shutil.get_terminal_size((100, 24)).columns))
    last = None
    for path, found in verdicts(find(args.names), args.timeout):
        if path != last:
            print(path.stem, flush=True)
            last = path
        count[found.verdict] += 1
        print(f"  {found.number:>5}  {found.verdict:6}  {EXERCISES[found.number].title}", flush=True)
        if found.why:
            print(textwrap.fill(found.why, width, initial_indent=" " * 17, subsequent_indent=" " * 17), flush=True)
    print(", ".join(f"{number} {verdict}" for verdict, number in count.items()))
    return int(count[FAILED] > 0)


def find(names: Sequence[str] = ()) -> list[Path]:
    """The notebooks of this copy of the lab, else those of the working folder; or those named.

    Raises:
        LabError: there is no such notebook.
    """
    places = (Path(__file__).parents[2] / "notebooks", Path("notebooks"), Path())
    there = next(filter(None, (sorted(place.glob("[0-9][0-9]_*.ipynb")) for place in places)), [])
    found = [] if names else there
    for name in names:
        match = [p for p in there if name in (p.stem, p.name) or (name.isdigit() and int(name) == int(p.name[:2]))]
        if name.endswith(".ipynb") and Path(name).is_file():
            match = [Path(name)]
        if not match:
            raise LabError(f"there is no notebook {name!r}; there are {', '.join(p.stem for p in there) or 'none'}")
        found += match
    if not found:
        raise LabError("there are no notebooks here; name them: python -m labutils check FOLDER/*.ipynb")
    return found


def verdicts(paths: Sequence[Path], timeout: float) -> Iterator[tuple[Path, Verdict]]:
    """The verdict on each exercise of these notebooks, in order.

    Args:
        timeout: seconds for one exercise; after them it has failed, and a new process goes on with the next one.

    Raises:
        LabError: a file is no notebook.
    """
    todo = [(path, number) for path in paths for number in exercises_of(path)]
    context = multiprocessing.get_context("spawn")
    while todo:
        results, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(todo, theirs), daemon=True)
        process.start()
        theirs.close()
        try:
            results.recv()  # it has started, which takes seconds
            while todo:
                why = f"still running after {timeout:g} s" if not results.poll(timeout) else ""
                found = Verdict(todo[0][1], FAILED, why) if why else results.recv()
                yield todo.pop(0)[0], found
                if why:
                    break
        except EOFError:
            path, number = todo.pop(0)
            yield path, Verdict(number, FAILED, "the answer ends the process that runs it")
        finally:
            process.kill()
            process.join()


# --------------------------------------------------------------------------------------------------- the notebooks


def read(path: Path) -> list[Cell]:
    """The code cells of a notebook.

    Raises:
        LabError: the file is no notebook.
    """
    try:
        cells = [cell for cell in json.loads(path.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
        # Colab keeps ids in the metadata
        texts = [(str(cell.get("id") or cell["metadata"].get("id", "")), "".join(cell["source"])) for cell in cells]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LabError(f"{path} cannot be read as a notebook: {told(error)}") from error
    return [_parsed(key or f"number {k}", text) for k, (key, text) in enumerate(texts, 1)]


def _parsed(key: str, text: str) -> Cell:
    """A cell; lines of IPython's own (%, !, ?) count for nothing."""
    plain = re.sub(r"^([ \t]*)([%!?].*|.*\?[ \t]*)$", r"\1pass  # \2", text, flags=re.M)
    try:
        return Cell(key, text, _parse(text))
    except (SyntaxError, ValueError) as error:
        with contextlib.suppress(SyntaxError, ValueError):
            return Cell(key, text, _parse(plain))
        line = f"line {error.lineno} of " if isinstance(error, SyntaxError) else ""
        return Cell(key, text, broken=f"{line}its cell is no Python: {told(error)}")


def _parse(text: str) -> list[ast.stmt]:
    """Statements; an import of several names is several of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compile(text, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)  # finds more than parsing does
    body: list[ast.stmt] = []
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.ImportFrom):
            parts = [ast.ImportFrom(statement.module, [alias], statement.level) for alias in statement.names]
            body += [ast.copy_location(part, statement) for part in parts]
        else:
            body.append(statement)
    return body


def check_cells(cells: Sequence[Cell]) -> dict[str, tuple[int, ast.expr]]:
    """Exercise -> place of its check cell, and the answer that this hands over.

    Where several cells check the same exercise, the one with the right id counts.
    """
    numbers = {check.verify.__name__: number for number, check in EXERCISES.items()}
    found: dict[str, tuple[int, ast.expr]] = {}
    for k, cell in enumerate(cells):
        match list(cell.body):
            case [ast.Expr(ast.Call(ast.Attribute(ast.Name("checks"), name), [argument]))] if name in numbers:
                number = numbers[name]
                if number not in found or cell.id == f"check-{number.replace('.', '-')}":
                    found[number] = k, argument
    return found


def exercises_of(path: Path) -> list[str]:
    """The exercises that a notebook checks, in its order, and then those of its number that it lacks.

    Raises:
        LabError: the file is no notebook.
    """
    found = list(check_cells(read(path)))
    return found + [n for n in EXERCISES if path.name.startswith(f"{n.partition('.')[0]:0>2}_") and n not in found]


class Names:
    """What a piece of code has to do with the names of its notebook.

    Attributes:
        bound: it gives them a value, or changes it by x[…] = ….
        surely: it gives all of them a new value, whatever happens.
        read: it reads them at once.
        later: its functions read them, when they are called.
    """

    def __init__(self, code: ast.AST):
        table = symtable.symtable(ast.unparse(code), "cell", "exec")
        self.bound = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}
        self.read = {s.get_name() for s in table.get_symbols() if s.is_referenced()}
        self.later: set[str] = set()
        inner = list(table.get_children())
        while inner:
            table = inner.pop()
            self.later |= {s.get_name() for s in table.get_symbols() if s.is_global()}
            inner += table.get_children()
        plain = (ast.Assign, ast.AnnAssign, ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
        self.surely = isinstance(code, plain)
        for node in ast.walk(code):
            if isinstance(node, (ast.Subscript, ast.Attribute)) and isinstance(node.ctx, ast.Store):
                self.surely = False
                root: ast.AST = node
                while isinstance(root, (ast.Subscript, ast.Attribute)):
                    root = root.value
                self.bound |= {root.id} if isinstance(root, ast.Name) else set()
            elif isinstance(node, ast.alias) and node.name == "*":
                self.bound.add("*")


def needed(statements: Sequence[ast.stmt], code: ast.AST) -> tuple[list[int], set[str]]:
    """Which statements code that comes after them depends on, and the names it reads that none of them binds."""
    all_names, end = [Names(part) for part in (*statements, code)], len(statements)
    todo = [end, *(k for k in range(end) if "*" in all_names[k].bound)]
    taken = set(todo)
    while todo:
        place = todo.pop()
        names = all_names[place]
        for name, before in [*((n, place) for n in names.read | names.later), *((n, end) for n in names.later)]:
            for k in reversed(range(before)):
                if name in all_names[k].bound:
                    if k not in taken:
                        taken.add(k)
                        todo.append(k)
                    if all_names[k].surely:
                        break
    bound = set[str]().union(*(all_names[k].bound for k in taken))
    missing = set() if "*" in bound else all_names[end].read - bound - vars(builtins).keys()
    return sorted(taken - {end}), missing


# ----------------------------------------------------------------------------------------------------- the process


def _work(todo: Sequence[tuple[Path, str]], results: Connection) -> None:
    """Judge these exercises and send a verdict on each; what the answers print is lost."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.environ["MPLBACKEND"] = "Agg"
    results.send("started")
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        books: dict[Path, Book] = {}
        for path, number in [(path.resolve(), number) for path, number in todo]:
            if path not in books:
                books[path] = Book(read(path))
            os.chdir(path.parent)
            sys.path[0] = str(path.parent)  # as in the notebook's kernel
            results.send(books[path].judge(number))


class Book:
    """A notebook whose statements are run when they are needed, each once."""

    def __init__(self, cells: Sequence[Cell]):
        self.cells, self.checks = cells, check_cells(cells)
        self.names: dict[str, Any] = {"__name__": "__main__", "display": lambda *shown, **how: None}
        self.errors: dict[ast.AST, str] = {}  # of the statements that were run; "" where there was none

    def judge(self, number: str) -> Verdict:
        """The verdict on one exercise."""
        if number not in self.checks:
            return Verdict(number, TO_DO, "this notebook has no cell that checks it")
        place, argument = self.checks[number]
        above, names = self.cells[:place], Names(argument).read
        for cell in above:
            if cell.broken and any(re.search(rf"^(?:def +)?{name}\b", cell.text, re.M) for name in names):
                return Verdict(number, FAILED, cell.broken)
        statements = [(cell, statement) for cell in above for statement in cell.body]
        places, missing = needed([statement for _, statement in statements], argument)
        if missing:
            return Verdict(number, TO_DO, f"no cell above its check defines {', '.join(sorted(missing))}")
        wrong = list(filter(None, [self._run(*statements[k]) for k in places]))
        try:
            EXERCISES[number].judge(self._value(argument), int(os.environ.get(SEED, "0")))
        except NotDone:
            return Verdict(number, TO_DO)
        except Exception as error:
            why = wrong[0] if wrong else error.brief if isinstance(error, CheckFailed) else told(error)
            return Verdict(number, FAILED, why)
        return Verdict(number, PASSED)

    def _run(self, cell: Cell, statement: ast.stmt) -> str:
        """Run a statement, unless it was run before; its error, or ""."""
        if statement not in self.errors:
            self.errors[statement] = ""
            try:
                code = compile(ast.Module([statement], []), f"cell {cell.id}", "exec")
                exec(code, self.names)
            except (Exception, SystemExit) as error:
                self.errors[statement] = f"{told(error)}, in line {statement.lineno} of cell {cell.id}"
        return self.errors[statement]

    def _value(self, argument: ast.expr) -> Any:
        return eval(compile(ast.Expression(argument), "check", "eval"), self.names)
