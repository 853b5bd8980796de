"""The interactive parts of the lab, for notebooks and for pages that open without a kernel."""

from importlib import import_module
from typing import Any

_HOME = {
    "Clip": "scrubber",
    "FrameScrubber": "scrubber",
    "LatentExplorer": "latent",
    "PoseStudio": "studio",
    "ReparameterizationExplorer": "reparameterization",
    "ScheduleExplorer": "schedule",
    "TrainingMonitor": "monitor",
    "preset_poses": "studio",
    "render_page": "page",
    "write_page": "page",
    "write_summary": "results",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    """Import a widget, and torch where it needs it, only when it is asked for."""
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
