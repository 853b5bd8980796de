"""Running the notebooks in fresh kernels, and storing what they give."""

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from labutils.errors import LabError
from labutils.teach import notebooks, rules


def execute(path: Path, timeout: float = 1800) -> tuple[NotebookNode, float]:
    """Run all cells of a notebook in a fresh kernel, whose working folder is the notebook's; the file stays as it is.

    A notebook of a student edition runs with the labutils of that edition.

    Args:
        timeout: seconds a single cell may take.

    Returns:
        The notebook with its outputs, and the widgets' state in its metadata; the seconds it took.

    Raises:
        LabError: a cell ended in an error, wrote to stderr or took too long, or the kernel died or did not start; the
            message names notebook and cell.
    """
    book = notebooks.read(path)
    notebooks.clear(book)
    place = f"{path.name}, before the first cell"

    def started(cell: NotebookNode, cell_index: int) -> None:
        nonlocal place
        place = f"{path.name}, cell {cell.get('id', cell_index)}"

    def executed(cell: NotebookNode, cell_index: int, execute_reply: Any) -> None:
        text = "".join(out.text for out in cell.get("outputs", ()) if out.get("name") == "stderr")
        if text.strip():
            raise LabError(f"{place}: wrote to stderr:\n{text.strip()[-3000:]}")

    client = NotebookClient(
        book, timeout=timeout, kernel_name="python3", record_timing=False, store_widget_state=True,
        resources={"metadata": {"path": str(path.parent)}}, on_cell_start=started, on_cell_executed=executed,
    )  # fmt: skip
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="labutils-") as scratch:
        try:
            # what a kernel says about itself on its own stderr is no output of a cell
            client.execute(env=kernel_environment(path.resolve().parents[1], Path(scratch)), stderr=subprocess.DEVNULL)
        except CellExecutionError as error:
            text = re.sub(r"\x1b\[[0-9;]*m", "", str(error.traceback)).strip()
            raise LabError(f"{place}: {text[-3000:]}") from None
        except CellTimeoutError:
            raise LabError(f"{place}: still running after {timeout:g} s") from None
        except (DeadKernelError, RuntimeError) as error:
            raise LabError(f"{place}: the kernel died or does not answer ({error})") from None
    return book, time.perf_counter() - start


def kernel_environment(folder: Path, scratch: Path) -> dict[str, str]:
    """The environment of a kernel: the labutils of ``folder``, else this one; none of the user's IPython settings.

    Data sets and models are those of this copy of the lab, unless LAB_HOME names other ones.  The module that answers
    are kept in is not the reader's own, unless LAB_MODULE names it.
    """
    kept = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}  # inline, as in a lab
    root = folder if (folder / "labutils").is_dir() else notebooks.ROOT
    return (
        {"LAB_HOME": str(notebooks.ROOT), "LAB_MODULE": str(notebooks.ROOT / "outputs" / "notebooks" / "my_cvae.py")}
        | kept
        | {
            "PYTHONPATH": os.pathsep.join(filter(None, [str(root), kept.get("PYTHONPATH")])),
            "IPYTHONDIR": str(scratch / "ipython"),
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            "PYTHONUNBUFFERED": "1",
        }
    )


def store(paths: Sequence[Path], timeout: float = 1800) -> None:
    """Run notebooks one after the other and store each that ran clean; one line for each.

    Where exercises or ids are not as they must be is for ``rules.check`` to say.

    Raises:
        LabError: at the end, with everything that was wrong; the notebooks concerned are left as they were.
    """
    wrong: list[str] = []
    start = time.perf_counter()
    for k, path in enumerate(paths, 1):
        head = f"{k:2}/{len(paths)} {path.stem:28}"
        try:
            book, seconds = execute(path, timeout)
        except LabError as error:
            wrong.append(str(error))
            print(f"{head} failed", flush=True)
            continue
        notebooks.normalise(book)
        bad = rules.unfit(book, path.name)
        wrong += bad
        result = "not stored" if bad else f"{notebooks.write(path, book) / 1e6:.2f} MB"
        print(f"{head} {seconds:6.1f} s  {result}", flush=True)
    print(f"{len(paths)} notebooks in {time.perf_counter() - start:.0f} s")
    if wrong:
        raise LabError("these notebooks were not stored:\n" + "\n".join(wrong))
