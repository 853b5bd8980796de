"""The notebooks' exercises, for the tests of their checks: what the notebooks answer, how a check judges an answer."""

import ast
from collections.abc import Callable, Iterable
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode

from labutils.checks import CheckFailed, Exercise, Mine, NotDone
from labutils.teach.notebooks import check_call, find, read


@cache
def cells(notebook: int) -> dict[str, NotebookNode]:
    """Id -> cell of the notebook of this number, in their order."""
    return {cell.id: cell for cell in read(find([str(notebook)])[0]).cells}


def cell(kind: str, number: str) -> NotebookNode:
    """The ``answer`` or ``check`` cell of an exercise."""
    return cells(int(number.partition(".")[0]))[f"{kind}-{number.replace('.', '-')}"]


@cache
def answer(number: str) -> Any:
    """What an exercise's check cell hands to the check."""
    return answered(number, cell("answer", number).source)


def answered(number: str, source: str, **names: Any) -> Any:
    """What is handed to the check where the answer cell reads ``source``, and these names are known."""
    names |= {"my": Mine(Path("nothing.py")), **_imported(number)}  # the references
    exec(source, names)
    return eval(ast.unparse(check_call(cell("check", number).source).args[0]), names)


@cache
def _imported(number: str) -> dict[str, Any]:
    """Of the cells before an answer, only the imports that it needs are run."""
    place = cell("answer", number)
    before = takewhile(lambda cell: cell is not place, cells(int(number.partition(".")[0])).values())
    text = "".join(TransformerManager().transform_cell(c.source) for c in before if c.cell_type == "code")
    used = {node.id for node in ast.walk(ast.parse(place.source)) if isinstance(node, ast.Name)}
    names: dict[str, Any] = {}
    for node in ast.parse(text).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            node.names = [name for name in node.names if (name.asname or name.name.partition(".")[0]) in used]
            if node.names:
                exec(ast.unparse(node), names)
    return names


def accepted(check: Exercise, answer: Any, seeds: Iterable[int] = (*range(12), 123)) -> None:
    """The answer passes."""
    for seed in seeds:
        try:
            check.judge(answer, seed)
        except (CheckFailed, NotDone) as failure:
            failure.add_note(f"with seed {seed}")
            raise


def refused(check: Callable, *args: Any, **options: Any) -> CheckFailed:
    """How a check refuses what it is given."""
    with pytest.raises(CheckFailed) as failed:
        check(*args, **options)
    return failed.value
