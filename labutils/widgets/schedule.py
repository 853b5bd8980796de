"""ScheduleExplorer: KL annealing and teacher forcing over a training, drawn while their settings are moved.

The curves are computed in the browser by the formulas of ``labutils.schedules``; they answer without Python and go on
when the kernel is gone.  Python can read and set every setting all the same::

    explorer = ScheduleExplorer(cfg)              # or ScheduleExplorer(num_epoch=30)
    explorer.kl_anneal_cycle = 4
    fit(model, train, val, explorer.cfg)          # the LabConfig chosen, cfg's other settings kept
    explorer.line, explorer.flags                 # as Python, and for the command line
    explorer.figure()                             # a still for GitHub and print
"""

import dataclasses
import math
from typing import Any

import traitlets
from matplotlib.figure import Figure

from labutils import show
from labutils.config import LabConfig
from labutils.errors import LabError
from labutils.widgets import page

KL = ("kl_anneal_type", "kl_anneal_cycle", "kl_anneal_ratio", "kl_anneal_shape", "kl_anneal_start", "kl_anneal_stop")
FORCING = ("tfr", "tfr_sde", "tfr_d_step", "tfr_floor")
SETTINGS = ("num_epoch", *KL, *FORCING)
DEFAULTS = {name: getattr(LabConfig(), name) for name in SETTINGS}
FLOATS = [f.name for f in dataclasses.fields(LabConfig) if f.name in SETTINGS and f.type is float]
_CYCLICAL = dict(zip(KL, ("Cyclical", 10, 1.0, "linear", 0.0, 1.0)))
PRESETS = {  # what each sets; the other settings are left as they are
    "this lab's default": {name: DEFAULTS[name] for name in (*KL, *FORCING)},
    "assignment's default: 10 cycles": _CYCLICAL | dict(zip(FORCING, (1.0, 10, 0.1, 0.0))),
    "Fu et al. 2019: 4 cycles, half of each rising": _CYCLICAL | {"kl_anneal_cycle": 4, "kl_anneal_ratio": 0.5},
    "monotonic: one ramp": _CYCLICAL | {"kl_anneal_type": "Monotonic"},
    "no annealing": _CYCLICAL | {"kl_anneal_type": "None"},
}


class ScheduleExplorer(page.LabWidget):
    """Both schedules over the epochs of a training, with their settings as controls.

    Traits, all of which go both ways: the fields of ``LabConfig`` in ``SETTINGS`` under their own names, and
    ``steps_per_epoch``.

    Args:
        cfg: the configuration to start from; default ``LabConfig()``.
        num_epoch: epochs on the axis; default: those of ``cfg``.
        steps_per_epoch: for the axis in steps; default: what an epoch of 2520 frames takes with ``cfg``.
        **settings: first values of other traits.

    Raises:
        LabError: a value is out of range, here or when a trait is set later; the message names the flag.
    """

    _esm = page.module("schedule.js")
    _css = page.styles("schedule.css")
    page_title = "Schedules of a training"

    steps_per_epoch = traitlets.Int(84).tag(sync=True)
    num_epoch = traitlets.Int().tag(sync=True)
    kl_anneal_type = traitlets.Unicode().tag(sync=True)
    kl_anneal_cycle = traitlets.Int().tag(sync=True)
    kl_anneal_ratio = traitlets.Float().tag(sync=True)
    kl_anneal_shape = traitlets.Unicode().tag(sync=True)
    kl_anneal_start = traitlets.Float().tag(sync=True)
    kl_anneal_stop = traitlets.Float().tag(sync=True)
    tfr = traitlets.Float().tag(sync=True)
    tfr_sde = traitlets.Int().tag(sync=True)
    tfr_d_step = traitlets.Float().tag(sync=True)
    tfr_floor = traitlets.Float().tag(sync=True)

    _defaults = traitlets.Dict(DEFAULTS).tag(sync=True)
    _floats = traitlets.List(FLOATS).tag(sync=True)
    _presets = traitlets.List([{"name": k, "settings": v} for k, v in PRESETS.items()]).tag(sync=True)

    def __init__(
        self,
        cfg: LabConfig | None = None,
        num_epoch: int | None = None,
        steps_per_epoch: int | None = None,
        **settings: Any,
    ) -> None:
        self._start = cfg or LabConfig()
        if steps_per_epoch is None:
            steps_per_epoch = math.ceil(2519 / (self._start.batch_size * (self._start.train_vi_len - 1)))
        if num_epoch is not None:
            settings["num_epoch"] = num_epoch
        first = {name: getattr(self._start, name) for name in SETTINGS}
        super().__init__(**{"steps_per_epoch": steps_per_epoch, **first, **settings})

    @traitlets.validate(*SETTINGS)
    def _valid(self, proposal: Any) -> Any:
        self._start.replace(**{proposal["trait"].name: proposal["value"]})  # raises LabError
        return proposal["value"]

    @traitlets.validate("steps_per_epoch")
    def _valid_steps(self, proposal: Any) -> int:
        if proposal["value"] < 1:
            raise LabError(f"steps_per_epoch is {proposal['value']}; it must be at least 1")
        return proposal["value"]

    def config(self, **changes: Any) -> LabConfig:
        """The ``LabConfig`` chosen, with ``changes`` on top; what no control shows is as in the ``cfg`` given."""
        return self._start.replace(**{name: getattr(self, name) for name in SETTINGS}, **changes)

    @property
    def cfg(self) -> LabConfig:
        """The ``LabConfig`` chosen."""
        return self.config()

    @property
    def changed(self) -> dict[str, Any]:
        """The settings shown here that are not at their defaults."""
        return {name: getattr(self, name) for name in SETTINGS if getattr(self, name) != DEFAULTS[name]}

    @property
    def line(self) -> str:
        """Python that gives the schedules chosen, as the widget shows it."""
        values = {k: f'"{v}"' if isinstance(v, str) else repr(v) for k, v in self.changed.items()}
        return f"LabConfig({', '.join(f'{k}={v}' for k, v in values.items())})"

    @property
    def flags(self) -> str:
        """The same for the command line, as the widget shows it; empty for the defaults."""
        return " ".join(f"--{name} {value}" for name, value in self.changed.items())

    def __repr__(self) -> str:
        return f"ScheduleExplorer of {self.line}"

    def figure(self) -> Figure:
        """Both schedules as a still, see ``show.schedules``."""
        return show.schedules(self.cfg, self.num_epoch * self.steps_per_epoch)
