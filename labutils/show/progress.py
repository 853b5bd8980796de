"""How far a training has come: a bar in a terminal, a line in a notebook."""

import math
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:
    from labutils.training import Trainer


class ProgressBar:
    """Callback: a progress bar in a terminal, with the latest losses and validation PSNR."""

    def __call__(self, event: str, trainer: "Trainer") -> None:
        budget = trainer.budget
        if event == "start":
            unit = "s" if trainer.cfg.minutes else "step"
            form = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f}" + unit + " [{elapsed}<{remaining}] {postfix}"
            self.bar = tqdm(total=budget.length, desc="train", bar_format=form, initial=budget.position)
        elif event == "end":
            self._update(trainer)
            self.bar.close()
        else:
            self._update(trainer)

    def _update(self, trainer: "Trainer") -> None:
        self.bar.update(trainer.budget.position - self.bar.n)
        if trainer.history:
            row = trainer.history[-1]
            best = f" val={trainer.best_psnr:.2f}dB" if math.isfinite(trainer.best_psnr) else ""
            rate = row["step"] * trainer.cfg.batch_size * (trainer.cfg.train_vi_len - 1) / max(row["seconds"], 1e-9)
            text = f"mse={row['mse']:.5f} kl={row['kl']:.2f} beta={row['beta']:.2f} tfr={row['tfr']:.1f}"
            self.bar.set_postfix_str(f"{text} {rate:.0f}frames/s{best}")
