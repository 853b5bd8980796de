"""The interactive parts of the lab, for notebooks and for pages that open without a kernel."""

from labutils.widgets.scrubber import Clip, FrameScrubber

__all__ = ["Clip", "FrameScrubber"]
