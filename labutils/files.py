"""Files that appear whole or not at all; room on the disk before it is used; what is no file at all.

What a process writes lies beside its place under ``.NAME.TOKEN.part`` and is locked.  The kernel lets go of the lock
when the process ends, however it ends: a part file that can be locked is of a dead one, and the next writer removes it.
"""

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from labutils.errors import LabError
from labutils.machine import room

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what an OSError says when nothing more can be written
KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device",
         stat.S_IFBLK: "a device"}  # fmt: skip
_PART = re.compile(r"\..+\.[0-9a-f]{8}\.part")
_swept: set[str] = set()  # folders that this process has looked through


def shown(path: str | Path) -> str:
    """A path as a message shows it: on one line, of bearable length."""
    text = "".join(c if c.isprintable() else "?" for c in str(path))
    return text if len(text) <= 400 else f"{text[:100]}… ({len(text)} characters)"


def regular(path: str | Path) -> os.stat_result:
    """The state of a file that can be read to its end.

    Raises:
        LabError: it is missing, a link to nowhere, a folder, or a pipe, at which a reader would wait for ever.
    """
    try:
        state = os.stat(path)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        if isinstance(error, OSError) and os.path.islink(path):
            reason = f"it is a link to {shown(os.readlink(path))}, which leads nowhere"
        raise LabError(f"{shown(path)} cannot be read: {reason}; remove it or copy it again") from error
    if not stat.S_ISREG(state.st_mode):
        kind = KINDS.get(stat.S_IFMT(state.st_mode), "something else")
        raise LabError(f"{shown(path)} is {kind}, not a file; remove it or copy it again")
    return state


@contextmanager
def part_file(path: str | Path) -> Iterator[tuple[Path, BinaryIO]]:
    """The name of a new file beside ``path``, open for reading and writing; renamed to ``path`` when the block ends.

    Raises:
        LabError: it cannot be written (no permission, disk full ...); the message names ``path``.
    """
    path = Path(path)
    part = path.with_name(f".{path.name[:50]}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if str(path.parent) not in _swept:
            sweep(path.parent)
        with _locked(part) as file:
            yield part, file
            file.flush()
            os.replace(part, path)
    except (OSError, ValueError) as error:
        if not isinstance(error, OSError) and "\0" not in str(path):
            raise
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise LabError(f"{shown(path)} cannot be written: {reason}{full(error, path)}") from error
    finally:
        with contextlib.suppress(OSError, ValueError):
            part.unlink(missing_ok=True)


@contextmanager
def atomic_file(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file for writing; it appears under its name, whole, only when the block ends without an error.

    Raises:
        LabError: it cannot be written (no permission, disk full ...); the message names it.
    """
    with part_file(path) as (_, file):
        yield file


def sweep(folder: str | Path) -> None:
    """Remove the part files of a folder whose processes are dead."""
    _swept.add(str(folder))
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(folder)):
            if _PART.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with open(entry.path, "rb") as file:
                    if _lock(file):
                        os.unlink(entry.path)


def reserve(file: BinaryIO, size: int) -> None:
    """Take ``size`` bytes of the disk for a file, so that a memory map of it never meets a full one.

    Raises:
        OSError: there is not so much room; where memory is mapped the system would kill the process without a word.
    """
    try:
        _reserve(file, size)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror} for {size:,} bytes") from error


def _reserve(file: BinaryIO, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        try:
            return os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):  # this file system cannot
                raise
    file.seek(0)
    while (left := size - file.tell()) > 0:
        file.write(bytes(min(left, 1 << 20)))
    file.flush()


def full(error: Exception, path: Path) -> str:
    """How much room there is for a file, where that is the trouble; else ""."""
    if not isinstance(error, OSError) or error.errno not in FULL:
        return ""
    return f"; {room(path.parent):,} bytes are free in {shown(path.parent)}: make room there"


def _locked(part: Path) -> BinaryIO:
    """A new file, locked."""
    while True:
        file = open(part, "x+b")
        _lock(file)
        if part.exists():
            return file
        file.close()  # somebody who swept came between the two calls


def _lock(file: BinaryIO) -> bool:
    """Whether this process has the lock of a file now; never where the system knows no locks."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):  # Windows; held by its writer, or a file system without locks
        return False
    return True
