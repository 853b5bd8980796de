"""What the lab shows: figures for notebooks and files, GIFs, strips of frames."""

from labutils.show.figures import (
    COLORS,
    HATCHES,
    NOISY,
    SMOOTH_FROM,
    STYLES,
    LabFigure,
    beta_over_iterations,
    frame_strip,
    kl_compare,
    loss_curves,
    psnr_bars,
    psnr_per_frame,
    save,
    schedules,
    tfr_and_loss,
    training_record,
)
from labutils.show.look import INK, PALE, bold_poses
from labutils.show.progress import ProgressBar
from labutils.show.video import Panels, error_frames, strip, strip_frames, write_gif

__all__ = [
    "COLORS",
    "HATCHES",
    "INK",
    "NOISY",
    "PALE",
    "SMOOTH_FROM",
    "STYLES",
    "LabFigure",
    "Panels",
    "ProgressBar",
    "beta_over_iterations",
    "bold_poses",
    "error_frames",
    "frame_strip",
    "kl_compare",
    "loss_curves",
    "psnr_bars",
    "psnr_per_frame",
    "save",
    "schedules",
    "strip",
    "strip_frames",
    "tfr_and_loss",
    "training_record",
    "write_gif",
]
