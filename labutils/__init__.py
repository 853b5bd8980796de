"""A hands-on lab on conditional VAEs for video prediction."""

from importlib import import_module
from typing import Any

from labutils.config import LabConfig
from labutils.errors import LabError

__version__ = "0.1.0"
__all__ = ["ConditionalVAE", "LabConfig", "LabError", "load_model"]

_LAZY = {"ConditionalVAE": "labutils.model", "load_model": "labutils.model"}


def __getattr__(name: str) -> Any:
    """Import torch only when something that needs it is asked for."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'labutils' has no attribute {name!r}")
