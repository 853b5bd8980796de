"""A hands-on lab on conditional VAEs for video prediction."""

import os
from importlib import import_module
from typing import Any

from labutils.config import LabConfig
from labutils.errors import LabError

# Threads that wait for each other sleep instead of spinning: beside a browser, training is up to 10 times faster so.
# OpenMP reads it when torch is imported, which the lab does only after this line.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
__all__ = ["ConditionalVAE", "LabConfig", "LabError", "load_model"]

_LAZY = {"ConditionalVAE": "labutils.model", "load_model": "labutils.model"}


def __getattr__(name: str) -> Any:
    """Import torch only when something that needs it is asked for."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'labutils' has no attribute {name!r}")
