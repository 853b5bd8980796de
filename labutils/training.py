"""The trainer: one loop over the batches of ``labutils.batches``, a budget, checkpoints and history.

    loss = MSE + l1 * MAE + beta * (2 sigma_x^2 / 3HW) * KL

With l1 = 0 and beta = 1 that is, up to a factor and a constant, the negative ELBO of a decoder N(x̂, sigma_x^2 I).
"""

import contextlib
import copy
import io
import itertools
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parallel import DistributedDataParallel

from labutils.alone import alone
from labutils.batches import Batch, Clips, Replay, moved_weights
from labutils.checkpoint import (
    COLUMNS,
    Row,
    checkpoint_config,
    history_before,
    load_weights,
    read_checkpoint,
    write_history,
)  # fmt: skip
from labutils.config import LabConfig
from labutils.contents import clear_frames, frames_beside, load_moments, network, read_frames
from labutils.distributed import Ranks
from labutils.errors import LabError
from labutils.evaluation import predict
from labutils.files import atomic_file
from labutils.images import Video
from labutils.metrics import psnr
from labutils.model import ConditionalVAE
from labutils.optim import build_optimizers
from labutils.schedules import KLAnnealing, TeacherForcing
from labutils.signals import held

LOG_EVERY = 20  # steps between two readings of the losses: a reading waits for the device

Callback = Callable[[str, "Trainer"], None]


class Budget:
    """How far training has come: ``position`` of ``length``, both in steps, or in seconds with ``--minutes``.

    ``--steps`` and ``--minutes`` are cut into ``num_epoch`` equal parts that stand for epochs in every schedule.
    Without them an epoch is as many steps as it takes to predict each training frame once (with ``fast_train``: each of
    the part used).
    """

    def __init__(self, cfg: LabConfig, frames: int):
        self.cfg, self.frames = cfg, frames
        self.step, self.seconds = 0, 0.0
        if cfg.steps is not None:
            self.ends = np.ceil(np.arange(1, cfg.num_epoch + 1) * cfg.steps / cfg.num_epoch).astype(int)
        else:
            per_step = cfg.batch_size * (cfg.train_vi_len - 1)
            steps = [math.ceil((self.frames_in(e) - 1) / per_step) for e in range(cfg.num_epoch)]
            self.ends = np.cumsum(steps)  # of the epochs, in steps

    def frames_in(self, epoch: int) -> int:
        """Number of training frames that an epoch draws from."""
        if self.cfg.fast_train and epoch < self.cfg.fast_train_epoch:
            return max(self.cfg.train_vi_len, round(self.cfg.fast_partial * self.frames))
        return self.frames

    @property
    def length(self) -> float:
        """The whole training, in steps or seconds."""
        return 60 * self.cfg.minutes if self.cfg.minutes else int(self.ends[-1])

    @property
    def position(self) -> float:
        """What is done of it, in steps or seconds."""
        return min(self.seconds if self.cfg.minutes else self.step, self.length)

    @property
    def epoch(self) -> int:
        """The present epoch, from 0."""
        if self.cfg.minutes:
            return min(int(self.position / self.length * self.cfg.num_epoch), self.cfg.num_epoch - 1)
        return min(int(np.searchsorted(self.ends, self.step, side="right")), self.cfg.num_epoch - 1)

    @property
    def spent(self) -> bool:
        """Whether nothing is left."""
        return self.position >= self.length

    def __str__(self) -> str:
        cfg = self.cfg
        if cfg.minutes is not None:
            return f"{cfg.minutes:g} minutes"
        return f"{cfg.num_epoch} epochs" if cfg.steps is None else f"{cfg.steps} steps"


class Objective(nn.Module):
    """Predictions and loss of one batch; a module of its own, so that DDP and torch.compile can wrap it."""

    def __init__(self, model: ConditionalVAE, cfg: LabConfig):
        super().__init__()
        shared = {id(w): w for w in (*model.parameters(), *model.buffers())}
        self.model = copy.deepcopy(model, shared)  # the same weights; but Ctrl-C cannot leave moved ones in ``model``
        self.cfg = cfg
        self.kl_scale = 2 * cfg.sigma_x**2 / (3 * cfg.frame_H * cfg.frame_W)

    def forward(self, batch: Batch, beta: float) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the loss, (loss, mse, kl in nats per frame) detached (3,), and the predictions (B, T-1, 3, H, W)."""
        inputs = batch.frames, batch.labels, batch.teacher, batch.eps, self.cfg.feedback_grad
        predictions, kl = functional_call(self.model, moved_weights(self.model, batch), inputs)
        error = predictions.float() - batch.frames[:, 1:]
        mse, kl = error.square().mean(), kl.float().mean()
        loss = mse + self.cfg.l1 * error.abs().mean() + beta * self.kl_scale * kl
        return loss, torch.stack([loss, mse, kl]).detach(), predictions.detach()


class Trainer:
    """Trains a model; see ``fit``.  Callbacks are called as ``callback(event, trainer)``.

    Events: "start", "log" (every 20 steps, when the losses have been read), "epoch", "validate", "end".
    """

    def __init__(
        self, model: ConditionalVAE, train: Video, val: Video | None, cfg: LabConfig,
        callbacks: Sequence[Callback] = (), ranks: Ranks | None = None,
    ):  # fmt: skip
        if len(train.frames) < cfg.train_vi_len or not train.has_truth:
            found = f"{len(train.frames)} frames and {len(train.labels)} labels were given"
            raise LabError(f"training needs at least {cfg.train_vi_len} frames with labels; {found}")
        self.cfg, self.val, self.callbacks, self.ranks = cfg, val, list(callbacks), ranks or Ranks()
        self.device, self.save_root = self.ranks.device, Path(cfg.save_root)
        self.budget = Budget(cfg, len(train.frames))
        self.beta, self.tfr = KLAnnealing.from_config(cfg), TeacherForcing.from_config(cfg)
        self.history: list[Row] = []
        self.best_psnr, self.stopping = -math.inf, False
        self.epoch = 0  # whose end has not come yet

        model.set_background(train.frames, train.labels)
        self.model = model.to(self.device).to(memory_format=torch.channels_last).train()
        self.averaged = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.optimizers = build_optimizers(self.model, cfg)
        self.peak_lr = [group["lr"] for o in self.optimizers for group in o.param_groups]
        self.objective: nn.Module = Objective(self.model, cfg)
        if self.ranks.world > 1:
            self.objective = DistributedDataParallel(self.objective)
        if cfg.compile:
            self.objective.compile()
        self.batches = {"clips": Clips, "replay": Replay}[cfg.mode](train, cfg, model.latent_shape, self.ranks)
        self._unread: list[tuple[Row, Tensor]] = []

    # ------------------------------------------------------------------------------------------------- the loop

    def fit(self) -> list[Row]:
        """Train until the budget is spent or ``stop`` is called; returns the history, one row for each step."""
        budget, done = self.budget, self.budget.spent
        began = time.perf_counter() - budget.seconds
        self._emit("start")
        try:
            while True:
                if budget.epoch > self.epoch and not budget.spent:
                    self._end_epoch()
                if budget.spent or self.stopping:
                    break
                self.step()
                if budget.step % LOG_EVERY == 0:
                    self._read_losses()
                elapsed, stop = self.ranks.agree(time.perf_counter() - began, self.stopping)
                budget.seconds, self.stopping = elapsed, bool(stop)
            self._read_losses()
            self._validate()
        except KeyboardInterrupt:
            with held():
                self._read_losses()
                self.save("last.ckpt")
            raise
        if not done:
            self.save("last.ckpt")
        self._emit("end")
        return self.history

    def _end_epoch(self) -> None:
        """What is due between two epochs; where it is interrupted, the run that goes on begins with it."""
        self._read_losses()
        self._emit("epoch")
        ended = self.epoch
        if (ended + 1) % self.cfg.per_val == 0:
            self._validate()
        self.epoch = self.budget.epoch
        if (ended + 1) % self.cfg.per_save == 0:
            self.save("last.ckpt")
        self.stopping = bool(self.ranks.agree(self.stopping)[0])

    def stop(self) -> None:
        """End after the current step, with a validation and a checkpoint."""
        self.stopping = True

    def step(self, beta: float | None = None, tfr: float | None = None) -> Tensor:
        """One training step: the rates of the moment, a batch, the optimizers, the averaged weights, the count.

        Args:
            beta, tfr: instead of what the schedules say.

        Returns:
            (loss, mse, kl), (3,) on the device; the history gets them when they are read.
        """
        budget, cfg = self.budget, self.cfg
        beta = self.beta(budget.position, budget.length) if beta is None else beta
        tfr = self.tfr(budget.epoch) if tfr is None else tfr
        lr = self._set_learning_rate()
        batch = self.batches.draw(budget.step, budget.frames_in(budget.epoch), tfr)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            loss, metrics, predictions = self.objective(batch, beta)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), cfg.grad_clip)
        with held():  # a step is applied and counted, or neither
            for optimizer in self.optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            self._average()
            self.batches.remember(batch, predictions)
            row = {"step": budget.step, "epoch": budget.epoch, "seconds": round(budget.seconds, 3)}
            self._unread.append((row | {"beta": beta, "tfr": tfr, "lr": lr, "val_psnr": None}, metrics))
            budget.step += 1
        return metrics

    # ------------------------------------------------------------------------------------------- rates and averages

    def _set_learning_rate(self) -> float:
        """Warm-up, then a cosine to zero (Loshchilov & Hutter, SGDR, ICLR 2017); returns that of the last group."""
        cfg, progress = self.cfg, self.budget.position / self.budget.length
        factor = (1 + math.cos(math.pi * progress)) / 2 * min(1.0, (progress + 1e-3) / max(cfg.warmup, 1e-3))
        if cfg.fast_train and self.budget.epoch < cfg.fast_train_epoch:
            factor *= cfg.fast_lr
        groups = [group for o in self.optimizers for group in o.param_groups]
        for group, peak in zip(groups, self.peak_lr, strict=True):
            group["lr"] = peak * factor
        return groups[-1]["lr"]

    @torch.no_grad()
    def _average(self) -> None:
        """Exponential moving average of the weights, with a short memory in the first steps; buffers are copied."""
        decay = min(self.cfg.ema, (self.budget.step + 1) / (self.budget.step + 10))
        torch._foreach_lerp_(list(self.averaged.parameters()), list(self.model.parameters()), 1 - decay)
        for mean, value in zip(self.averaged.buffers(), self.model.buffers(), strict=True):
            mean.copy_(value)

    # --------------------------------------------------------------------------------- reading, validating, writing

    def _read_losses(self) -> None:
        """Fetch the losses of the steps since the last reading, in one transfer.

        Raises:
            LabError: a loss is NaN or infinite.
        """
        if not self._unread:
            return
        values = self.ranks.mean(torch.stack([metrics for _, metrics in self._unread])).tolist()
        fresh = []
        for (row, _), (loss, mse, kl) in zip(self._unread, values, strict=True):
            if not math.isfinite(loss):
                raise LabError(
                    f"the loss is {loss} in step {row['step']} (mse {mse:g}, kl {kl:g}, beta {row['beta']:g}, "
                    f"lr {row['lr']:g}); checkpoints written before it are kept. Try a smaller --lr or --grad_clip"
                )
            fresh.append({name: (row | {"loss": loss, "mse": mse, "kl": kl})[name] for name in COLUMNS})
        with held():
            self._unread.clear()
            self.history += fresh
        self._emit("log")

    def _validate(self) -> None:
        """Roll out the validation video from the prior; keep the best checkpoint.  The first rank does it."""
        if self.val is None or not self.ranks.first or not self.history or self.history[-1]["val_psnr"] is not None:
            return
        self.prediction = predict(self.averaged, [self.val], seed=self.cfg.seed)[0]
        value = float(psnr(self.prediction[1:], self.val.frames[1:]).mean())
        self.history[-1]["val_psnr"] = value
        if value > self.best_psnr:
            self.best_psnr = value
            self.save("best.ckpt")
        self._emit("validate")

    def save(self, name: str) -> None:
        """Write the history, the replayed frames of last.ckpt, and then the checkpoint that they belong to.

        ``state_dict`` holds the averaged weights.  What lies there stays whole until all is written.
        """
        if not self.ranks.first:
            return
        budget, last = self.budget, name == "last.ckpt"
        write_history(self.save_root / "history.csv", self.history)
        frames = self.batches.replayed() if last and not budget.spent else None
        replayed = None if frames is None else frames_beside(self.save_root, budget.step, frames)
        checkpoint = {
            "state_dict": self.averaged.state_dict(), "weights": self.model.state_dict(),
            "optimizer": [o.state_dict() for o in self.optimizers], "config": self.cfg.to_dict(),
            "lr": self.optimizers[-1].param_groups[-1]["lr"], "tfr": self.tfr(budget.epoch), "last_epoch": budget.epoch,
            "step": budget.step, "seconds": budget.seconds, "epoch": self.epoch, "best_psnr": self.best_psnr,
            "replayed": replayed,
        }  # fmt: skip
        with atomic_file(self.save_root / name) as file:
            content = io.BytesIO()  # torch hides what a disk says
            torch.save(checkpoint, content)
            file.write(content.getbuffer())
        if last:
            clear_frames(self.save_root, replayed)

    def resume(self, path: str | Path) -> None:
        """Continue from a checkpoint, written by any number of processes, with the history that lies beside it.

        From last.ckpt with the replayed frames beside it the run is what it would have been without a break, bit for
        bit on the CPU; from another, frames are replayed as they truly are until they are predicted again.  A course
        checkpoint gives weights and the epoch.  A warning says what is missing or damaged beside the checkpoint.

        Raises:
            LabError: the checkpoint does not fit, or is damaged.
        """
        path, budget = Path(path), self.budget
        checkpoint = read_checkpoint(path)
        load_weights(self.model, network(checkpoint.get("weights", checkpoint["state_dict"]), path), path)
        load_weights(self.averaged, checkpoint["state_dict"], path)
        if "config" not in checkpoint:
            done = min(checkpoint.get("last_epoch", -1) + 1, self.cfg.num_epoch)
            budget.step = int(budget.ends[done - 1]) if done else 0
            budget.seconds = done / self.cfg.num_epoch * 60 * (self.cfg.minutes or 0)
            self.epoch = budget.epoch
            return
        states = checkpoint.get("optimizer")
        missing = [name for name in ("step", "seconds", "best_psnr") if name not in checkpoint]
        if missing or not isinstance(states, list):
            raise LabError(f"{path} cannot be gone on from: it holds no {', '.join(missing) or 'optimizer'}")
        if checkpoint_config(checkpoint).optim == self.cfg.optim:
            for optimizer, state in itertools.zip_longest(self.optimizers, states):
                load_moments(optimizer, state, path)
        budget.step, budget.seconds = checkpoint["step"], checkpoint["seconds"]
        self.best_psnr, self.epoch = checkpoint["best_psnr"], min(checkpoint.get("epoch", budget.epoch), budget.epoch)
        self.history, warning = history_before(path, budget.step, self.ranks.first)
        frames, other = read_frames(path, checkpoint.get("replayed"))
        if frames is not None and not self.batches.replay(frames):
            other = f"the frames replayed for {path} are of other data"
        for text in filter(None, (warning, other)):
            if self.ranks.first:
                print(f"warning: {text}", file=sys.stderr)

    def _emit(self, event: str) -> None:
        if self.ranks.first:
            for callback in self.callbacks:
                callback(event, self)


# ------------------------------------------------------------------------------------------------------- conveniences


def fit(
    model: ConditionalVAE, train: Video, val: Video | None, cfg: LabConfig,
    callbacks: Sequence[Callback] = (), resume: str | Path | None = None, ranks: Ranks | None = None,
) -> list[Row]:  # fmt: skip
    """Train ``model`` in place; afterwards it holds the averaged weights and is in evaluation mode.

    Writes ``last.ckpt``, ``best.ckpt`` and ``history.csv`` to ``cfg.save_root``.

    Args:
        train, val: the videos; ``val`` None trains without validation.
        callbacks: called as ``callback(event, trainer)``, see ``Trainer``.
        resume: a checkpoint to continue from; one whose budget is spent gives its model and history back.

    Returns:
        The history: one dict for each step with the keys of ``COLUMNS``.

    Raises:
        LabError: bad input, a loss that is not finite, a file that cannot be written, another training in save_root.
        KeyboardInterrupt: after ``last.ckpt`` has been written.
    """
    if cfg.deterministic:
        torch.use_deterministic_algorithms(True)
    with alone(cfg.save_root) if ranks is None or ranks.first else contextlib.nullcontext():
        trainer = Trainer(model, train, val, cfg, callbacks, ranks)
        if resume is not None:
            trainer.resume(resume)
        history = trainer.fit()
    model.load_state_dict(trainer.averaged.state_dict())
    model.eval()
    return history
