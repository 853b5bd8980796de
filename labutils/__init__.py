"""A hands-on lab on conditional VAEs for video prediction."""

import os
from importlib import import_module
from typing import Any

from labutils.config import LabConfig
from labutils.errors import LabError

if "OMP_WAIT_POLICY" not in os.environ:
    # Threads of GNU OpenMP wait for each other in a busy loop, at every layer.  Beside a core that does something else
    # (a browser is enough) that slows training by a factor of up to 50; after a short loop they sleep instead.  It is
    # read when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

__version__ = "0.1.0"
__all__ = ["ConditionalVAE", "LabConfig", "LabError", "load_model"]

_LAZY = {"ConditionalVAE": "labutils.model", "load_model": "labutils.checkpoint"}


def __getattr__(name: str) -> Any:
    """Import torch only when something that needs it is asked for."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'labutils' has no attribute {name!r}")
