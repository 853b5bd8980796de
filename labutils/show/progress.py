"""How far a training has come: a bar in a terminal, plain lines in a file."""

import math
import sys
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:
    from labutils.training import Trainer


class ProgressBar:
    """Callback: a progress bar in a terminal, with the latest losses and validation PSNR; elsewhere ten plain lines."""

    def __call__(self, event: str, trainer: "Trainer") -> None:
        budget = trainer.budget
        if event == "start":
            unit = "s" if trainer.cfg.minutes else "step"
            form = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f}" + unit + " [{elapsed}<{remaining}] {postfix}"
            begun = budget.position
            self.bar = tqdm(total=budget.length, desc="train", bar_format=form, initial=begun, disable=None)
            self.tenth = int(10 * begun / budget.length)
        else:
            self._update(trainer)
        if event == "end":
            self.bar.close()

    def _update(self, trainer: "Trainer") -> None:
        position, length = trainer.budget.position, trainer.budget.length
        if not self.bar.disable:
            self.bar.update(position - self.bar.n)
            self.bar.set_postfix_str(self._text(trainer))
        elif int(10 * position / length) > self.tenth:
            self.tenth = int(10 * position / length)
            print(f"train: {position / length:4.0%} {self._text(trainer)}", file=sys.stderr, flush=True)

    def _text(self, trainer: "Trainer") -> str:
        if not trainer.history:
            return ""
        row = trainer.history[-1]
        best = f" val={trainer.best_psnr:.2f}dB" if math.isfinite(trainer.best_psnr) else ""
        rate = row["step"] * trainer.cfg.batch_size * (trainer.cfg.train_vi_len - 1) / max(row["seconds"], 1e-9)
        text = f"mse={row['mse']:.5f} kl={row['kl']:.2f} beta={row['beta']:.2f} tfr={row['tfr']:.1f}"
        return f"{text} {rate:.0f}frames/s{best}"
