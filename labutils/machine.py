"""What this machine has: memory, and room on its disks."""

import contextlib
import os
import shutil
from pathlib import Path


def memory() -> int:
    """Bytes of memory that the machine or its container lets a process have; 2**62 where that is not known."""
    limits = []
    with contextlib.suppress(AttributeError, ValueError, OSError):  # other systems than Linux
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for place in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(ValueError, OSError):
            limits.append(int(Path(place).read_text()))
    return min(limits, default=1 << 62)


def room(path: str | Path) -> int:
    """Bytes that are free where ``path`` lies or will lie; 2**62 where that is not known."""
    path = Path(path).absolute()
    for place in (path, *path.parents):
        with contextlib.suppress(OSError, ValueError):
            return shutil.disk_usage(place).free
    return 1 << 62
