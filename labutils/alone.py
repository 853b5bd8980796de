"""One process at a time writes to a folder: a lock that dies with its process."""

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from labutils.errors import LabError

LOCK = ".running"  # the file that is locked; it says who holds it
_held: set[Path] = set()  # by this process


@contextmanager
def alone(folder: str | Path) -> Iterator[None]:
    """Keep other processes out of a folder while the block runs; the folder is made.  Blocks may be nested.

    The kernel lets go of the lock when its process ends, however it ends: the file of a killed one holds nobody up.

    Raises:
        LabError: another process is at work there, which is named; or the folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place = folder.resolve() / LOCK
        file = None if place in _held else _locked(place)
    except OSError as error:
        raise LabError(f"{folder} cannot be written: {error.strerror or error}; choose another folder") from error
    if file is None:
        yield
        return
    _held.add(place)
    try:
        yield
    finally:
        _held.discard(place)
        with file:  # removed while it is still locked: whoever waits for this very file sees that it has gone
            place.unlink(missing_ok=True)


def _locked(place: Path) -> BinaryIO | None:
    """The open and locked file; None where the system knows no such locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    while True:
        file = open(place, "a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            who = file.read(500).decode(errors="replace").strip() or "another process"
            file.close()
            raise LabError(f"{place.parent} is in use by {who}; wait for its end, or choose another folder") from error
        except OSError:  # a file system without locks
            return file
        if place.exists() and os.path.samestat(os.fstat(file.fileno()), place.stat()):
            break
        file.close()  # its last holder removed it between the two calls
    file.truncate(0)
    command = " ".join(Path(word).name if k == 0 else word for k, word in enumerate(sys.argv))[:200]
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    file.write(f"process {os.getpid()} on {socket.gethostname()} since {since} ({command})\n".encode())
    file.flush()
    return file
