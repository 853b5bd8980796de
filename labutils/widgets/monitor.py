"""TrainingMonitor: a training while it runs, and a Stop button that ends it cleanly.

It is a callback.  In a notebook it shows itself as soon as training starts; in a terminal it is a progress bar::

    monitor = TrainingMonitor()
    history = fit(model, train, val, cfg, callbacks=[monitor])
    monitor.figure()                                # a still for GitHub and print

Two ways lead out of a running ``fit``, which keeps the kernel from running anything else.  Both end it after the
current step, with a validation and ``last.ckpt``, and the notebook goes on with the history in hand:

- The Stop button, where the kernel reads widgets' messages while a cell runs: JupyterLab and Notebook send them to a
  subshell of the kernel, a thread of its own (JupyterLab >= 4.4, Notebook >= 7.4, ipykernel >= 7).
- The notebook's own interrupt button, everywhere.  A second interrupt is an ordinary KeyboardInterrupt.
"""

import math
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import traitlets
from matplotlib.figure import Figure

from labutils import show
from labutils.errors import LabError
from labutils.metrics import psnr
from labutils.show import NOISY, SMOOTH_FROM, bold_poses, strip_frames, training_record
from labutils.widgets import page

INTERVAL = 0.4  # seconds between two messages to the browser, at least
SHARE = 0.005  # of the time may go into making them; dearer ones come less often
POINTS = 600  # of a curve, at most
MEANS = 100  # points of a running mean, at most
KEYS = ("step", "loss", "mse", "kl", "beta", "tfr", "lr")
COLUMNS = 7  # frames in the strip
STATES = ("waiting", "running", "stopping", "finished", "stopped", "interrupted", "failed")


# ------------------------------------------------------------------------------------------------------- numbers


def decimate(x: np.ndarray, y: np.ndarray, most: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """At most ``most`` of the points (n,), (n,): the first, the last, and the extremes of equal parts between them."""
    n = len(y)
    if n <= most:
        return x, y
    size = math.ceil(n / ((most - 2) // 2))
    parts = np.pad(y, (0, -n % size), mode="edge").reshape(-1, size)
    offset = np.arange(len(parts)) * size
    kept = np.concatenate([[0, n - 1], offset + parts.argmin(1), offset + parts.argmax(1)])
    kept = np.unique(np.minimum(kept, n - 1))
    return x[kept], y[kept]


def means(x: np.ndarray, y: np.ndarray, most: int = MEANS) -> tuple[np.ndarray, np.ndarray]:
    """Means of at most ``most`` equal parts of the points; the last part may be shorter."""
    starts = np.arange(0, len(y), math.ceil(len(y) / most))
    counts = np.diff([*starts, len(y)])
    return np.add.reduceat(x, starts) / counts, np.add.reduceat(y, starts) / counts


def time_left(done: float, length: float, seconds: float) -> float | None:
    """Seconds that ``length`` will take still when ``done`` of it took ``seconds``; None before anything is done."""
    return seconds * (length - done) / done if done > 0 else None


class Readings:
    """A history as arrays that grow: ``readings["loss"]`` is float64 (rows,)."""

    def __init__(self) -> None:
        self.count, self.table = 0, np.empty((1024, len(KEYS)))

    def __getitem__(self, key: str) -> np.ndarray:
        return self.table[: self.count, KEYS.index(key)]

    def take(self, history: Sequence[dict[str, Any]]) -> None:
        """Add the rows that are new in ``history``."""
        fresh = [[row[key] for key in KEYS] for row in history[self.count :]]
        if not fresh:
            return
        while self.count + len(fresh) > len(self.table):
            self.table = np.concatenate([self.table, np.empty_like(self.table)])
        self.table[self.count : self.count + len(fresh)] = fresh
        self.count += len(fresh)


def _packed(*arrays: np.ndarray) -> list[bytes]:
    return [np.asarray(a, "<f4").tobytes() for a in arrays]


def in_notebook() -> bool:
    """Whether there is an IPython kernel that shows widgets."""
    if "IPython" not in sys.modules:
        return False
    return getattr(sys.modules["IPython"].get_ipython(), "kernel", None) is not None


# -------------------------------------------------------------------------------------------------------- widget


class TrainingMonitor(page.LabWidget):
    """Callback of ``fit``: curves, validation PSNR, latest prediction, speed, time left and a Stop button.

    Traits:
        state: one of ``STATES``;  message: how it ended, in words.  Both are set here, not in the browser.

    After the run the widget keeps showing it, until the monitor is given to another ``fit``.  ``history`` holds its
    rows.
    """

    _esm = page.module("monitor.js")
    _css = page.styles("monitor.css")
    page_title = "Training"

    state = traitlets.Enum(STATES, default_value="waiting").tag(sync=True)
    message = traitlets.Unicode().tag(sync=True)
    _now = traitlets.Dict().tag(sync=True)  # numbers of the moment
    _curves = traitlets.Dict().tag(sync=True)  # name -> [x, y] or [x, y, x of means, means], each float32
    _given = traitlets.Dict().tag(sync=True)  # the strip's frames of the validation video
    _predicted = traitlets.Dict().tag(sync=True)  # and the latest prediction of them

    def __init__(self, **traits: Any) -> None:
        self.history: list[dict[str, Any]] = []
        self.messages = 0  # sent to the browser in this run
        self._trainer: Any = None
        self._bar: show.ProgressBar | None = None
        self._stop_asked = self._shown = self._watching = False
        self._output: Any = None  # the output that it made itself, where it did
        super().__init__(**traits)
        self.on_msg(self._hear)
        self._let_messages_in()

    def _repr_mimebundle_(self, **options: Any) -> Any:
        self._shown = True
        return super()._repr_mimebundle_(**options)

    def __repr__(self) -> str:
        rows = f"{len(self.history)} steps" if self.history else "no steps"
        return f"TrainingMonitor({self.state}, {rows}{f'; {self.message}' if self.message else ''})"

    # ------------------------------------------------------------------------------------------------- events

    def __call__(self, event: str, trainer: Any) -> None:
        """What ``fit`` calls."""
        if event == "start":
            self._begin(trainer)
        self._readings.take(trainer.history)
        if event == "validate":
            self._validated(trainer)
        if self._stop_asked:
            trainer.stop()
        if event == "end":
            self._finish("stopped" if trainer.stopping and not trainer.budget.spent else "finished")
        if self._bar is not None:
            self._bar(event, trainer)
        elif self._live:
            self._update(event, trainer)
        if event == "end":
            self._trainer = None
            if self._output is not None:  # now that there are curves, the notebook's output gets their picture too
                self._output.update(self)
                self._output, self._shown = None, False

    def stop(self) -> None:
        """End the training after the current step, with a validation and a checkpoint; from any thread."""
        if self._trainer is not None:
            self._stop_asked = True
            self._trainer.stop()

    def _begin(self, trainer: Any) -> None:
        self._trainer, self.history, self._readings = trainer, trainer.history, Readings()
        self._validations = [(r["step"], r["val_psnr"]) for r in trainer.history if r["val_psnr"] is not None]
        self._strip: dict[str, Any] | None = None  # what the latest validation gave and the browser has not got yet
        self._video: np.ndarray | None = None
        self._stop_asked = False
        self._from = trainer.budget.position, trainer.budget.seconds
        self._marks: deque[tuple[float, int]] = deque([(time.perf_counter(), trainer.budget.step)], maxlen=8)
        self._rate: float | None = None
        self._due, self.messages = 0.0, 0
        self._live = in_notebook()
        self._bar = None if self._live or trainer.cfg.quiet else show.ProgressBar()
        with self.hold_sync():
            self.state, self.message = "running", ""
            self._given, self._predicted, self._curves = {}, {}, {}
        if self._live:
            self._watch_cell()
            if not self._shown:
                from IPython.display import display

                self._output = display(self, display_id=True)
                self._shown = False  # the output of another cell, or of this one run again, does not hold it

    def _validated(self, trainer: Any) -> None:
        row = trainer.history[-1]
        self._validations.append((row["step"], row["val_psnr"]))
        self._video, self._val = trainer.prediction, trainer.val
        self._strip = {"epoch": row["epoch"], "step": row["step"], "psnr": row["val_psnr"]}
        self._marks.clear()  # the time it took is not the training's
        self._marks.append((time.perf_counter(), trainer.budget.step))

    # -------------------------------------------------------------------------------------- to the browser and back

    def _update(self, event: str, trainer: Any) -> None:
        """Bring the browser up to date, unless it was told a moment ago."""
        began = time.perf_counter()
        if self._stop_asked and self.state == "running":
            self.state = "stopping"
        elif event not in ("start", "end") and began < self._due:
            return
        if event != "validate" and trainer.budget.step > self._marks[-1][1]:
            self._marks.append((began, trainer.budget.step))
        with self.hold_sync():
            self._now = self._moment(trainer)
            self._curves = self._lines()
            if self._strip is not None and self._video is not None:
                self._add_strip(self._video, self._strip)
                self._strip = None
        self._let_messages_in()
        self.messages += 1
        ended = time.perf_counter()
        self._due = ended + max(INTERVAL, (ended - began) / SHARE)

    def _moment(self, trainer: Any) -> dict[str, Any]:
        budget, cfg = trainer.budget, trainer.cfg
        (then, before), (now, step) = self._marks[0], self._marks[-1]
        if step > before:
            self._rate = (step - before) * cfg.batch_size * (cfg.train_vi_len - 1) / max(now - then, 1e-9)
        if self.state in ("running", "stopping"):
            start, seconds = self._from
            left = time_left(budget.position - start, budget.length - start, budget.seconds - seconds)
        else:
            left = 0.0
        best = max(self._validations, key=lambda pair: pair[1], default=None)
        return {
            "position": budget.position / budget.length,
            "epoch": budget.epoch,
            "epochs": cfg.num_epoch,
            "step": budget.step,
            "seconds": budget.seconds,
            "left": left,
            "rate": self._rate,
            "best": None if best is None else {"step": best[0], "psnr": best[1]},
            "validates": trainer.val is not None,
        }

    def _lines(self) -> dict[str, list[bytes]]:
        if not self._readings.count:
            return {}
        step, lines = self._readings["step"], {}
        for key in KEYS[1:]:
            lines[key] = _packed(*decimate(step, self._readings[key]))
            if key in NOISY and self._readings.count >= SMOOTH_FROM:
                lines[key] += _packed(*means(step, self._readings[key]))
        if self._validations:
            lines["val_psnr"] = _packed(*decimate(*np.array(self._validations, float).T))
        return lines

    def _add_strip(self, video: np.ndarray, facts: dict[str, Any]) -> None:
        frames = strip_frames(len(video), COLUMNS)
        truth, prediction = self._val.frames[frames], video[frames]
        if not self._given:
            height, width = truth.shape[1:3]
            pose = bold_poses(self._val.labels[frames]).tobytes()
            self._given = {"height": height, "width": width, "frames": [int(t) + 1 for t in frames],
                           "pose": pose, "truth": truth.tobytes()}  # fmt: skip
        each = [None, *psnr(prediction[1:], truth[1:]).tolist()]  # frame 1 is given
        self._predicted = {**facts, "pixels": prediction.tobytes(), "each": each}

    def _let_messages_in(self) -> None:
        """Let the browser's messages go to the subshell that they are addressed to.

        ipykernel >= 7.4 sends them to the shell that last wrote to the widget, which is the one that ``fit`` occupies.
        """
        if self.comm is not None:
            self.comm.__dict__.pop("_reply_subshell_id", None)

    def _hear(self, _: Any, content: Any, buffers: Any) -> None:
        """A message from the browser; arrives in the thread of a subshell, so it changes no trait."""
        if content == "stop":
            self.stop()

    # ------------------------------------------------------------------------------------------------- the cell

    def _watch_cell(self) -> None:
        """Until the training or its cell ends: take interrupts as Stop, and notice errors, of which no event tells."""
        from IPython import get_ipython

        if threading.current_thread() is threading.main_thread() and not self._watching:
            self._watching = True
            get_ipython().events.register("post_run_cell", self._after_cell)
            self._old_handler = signal.signal(signal.SIGINT, self._interrupted)

    def _watch_no_more(self) -> None:
        from IPython import get_ipython

        if self._watching:
            self._watching = False
            get_ipython().events.unregister("post_run_cell", self._after_cell)
            if signal.getsignal(signal.SIGINT) == self._interrupted:
                signal.signal(signal.SIGINT, self._old_handler)

    def _interrupted(self, number: int, frame: Any) -> None:
        if self._stop_asked:  # the second time
            raise KeyboardInterrupt
        self.stop()

    def _finish(self, state: str, message: str = "") -> None:
        if self._live:
            self._watch_no_more()
        if state in ("finished", "stopped"):
            message = f"checkpoint: {self._trainer.save_root / 'last.ckpt'}"
        with self.hold_sync():
            self.state, self.message = state, message

    def _after_cell(self, result: Any) -> None:
        """The cell has ended, and training had not: by an error.  (In a thread of its own, training is not watched.)"""
        error = result.error_in_exec or result.error_before_exec
        if isinstance(error, KeyboardInterrupt):
            self._finish("interrupted", f"checkpoint: {self._trainer.save_root / 'last.ckpt'}")
        else:
            name = "" if isinstance(error, LabError) else f"{type(error).__name__}: "
            self._finish("failed", f"{name}{error}" if error else "an error ended it, which the cell caught")
        self._trainer = None

    # ---------------------------------------------------------------------------------------------------- its still

    def figure(self) -> Figure:
        """The run as a still: the curves and, where it was validated, the latest prediction.

        Raises:
            LabError: nothing has been trained yet.
        """
        if not self.history:
            raise LabError("the monitor has seen no training yet; give it to fit(..., callbacks=[monitor])")
        rows = None
        if self._video is not None:
            rows = {"pose": self._val.labels, "ground truth": self._val.frames, "prediction": self._video}
        return training_record(self.history, rows, COLUMNS)
