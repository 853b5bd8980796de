"""What a network shows on the validation video."""

import copy
from typing import Any

import numpy as np
import torch
from torch import nn

from labutils.analysis import LatentReport, measure_latent, one_step, output_hint, prior_rollouts
from labutils.baselines import Baselines, shortfall
from labutils.doctor.findings import Case, look
from labutils.evaluation import predict
from labutils.images import Video, to_float
from labutils.metrics import psnr
from labutils.model import ConditionalVAE, evaluating

CLEAR = 1.0  # dB that are more than chance


def _known(case: Case) -> tuple[ConditionalVAE, Video]:
    assert case.model is not None and case.val is not None  # what the findings below need
    return case.model, case.val


def _mean(values: Any) -> float:
    return float(np.mean(values))


def _straight(case: Case) -> float:
    """PSNR of single steps from true frames, in evaluation mode."""
    model, val = _known(case)
    if "one" not in case.measured:
        case.measured["one"] = _mean(one_step(model, val, chunk=1 if _batchnorms(model) else 64))
    return float(case.measured["one"])


def _latent(case: Case) -> LatentReport:
    model, val = _known(case)
    if "latent" not in case.measured:
        case.measured["latent"] = measure_latent(model, val, prior_rollouts(model, val, 2))
    found = case.measured["latent"]
    assert isinstance(found, LatentReport)
    return found


def _batchnorms(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


@look("batchnorm", "model", "val")
def better_in_training_mode(case: Case) -> str:
    """Predictions that are better with the statistics of the picture at hand than with the running ones."""
    model, val = _known(case)
    if not _batchnorms(model):
        return ""
    other = copy.deepcopy(model)
    for module in _batchnorms(other):
        module.track_running_stats, module.running_mean, module.running_var = False, None, None  # type: ignore[assignment]
    batch = _mean(one_step(other, val, chunk=1))
    if batch - _straight(case) < CLEAR:
        return ""
    return (
        f"single steps have {_straight(case):.1f} dB in evaluation mode and {batch:.1f} dB in training mode: "
        "the running statistics do not fit the weights"
    )


@look("beyond-range", "model", "val")
def leaves_the_range(case: Case) -> str:
    """Many values far outside [0, 1]."""
    return output_hint(*_known(case))


@look("z-unused", "model", "val")
def worth_nothing(case: Case) -> str:
    """z carries nothing, or predictions are no better for it."""
    found = _latent(case)
    return "" if found.used else "; ".join(found.lines("it carries or changes less than 0.1 nats or dB"))


@look("z-unlike-prior", "model", "val")
@torch.no_grad()
def unlike_the_prior(case: Case) -> str:
    """Mean square of z over frames and draws of q, in units of the prior: 1 where q, over all frames, is the prior."""
    model, val = _known(case)
    squares = []
    with evaluating(model) as device:
        for start in range(1, len(val.frames), 16):
            stop = min(start + 16, len(val.frames))
            pixels = val.frames[start - 1 : stop - 1], val.frames[start:stop], val.labels[start:stop]
            previous, x, poses = (to_float(part).to(device) for part in pixels)  # (n, 3, H, W) each
            label = model.label_transformation(poses)
            _, mu, logvar = model.posterior(x, label, previous=previous)
            mean, spread = model.prior(previous, label) or (torch.zeros_like(mu), torch.zeros_like(logvar))
            squares.append((((mu - mean).square() + logvar.exp()) / spread.exp()).flatten(1).mean(1))
    square = float(torch.cat(squares).mean())
    if 0.25 <= square <= 4:
        return ""
    return f"z of the posterior has mean square {square:.3g} over all frames; a draw of the prior has 1"


@look("feedback-gap", "model", "val")
def bad_from_its_own(case: Case) -> str:
    """Single steps against a rollout; z = mu in the rollout, so that what is left to chance does not count."""
    one, many = _straight(case), max(_latent(case).psnr_mu, _latent(case).psnr_draws)
    if one - many < 6 or many > 32:
        return ""
    return f"{one:.1f} dB from true previous frames, {many:.1f} dB from its own"


def _steps(model: ConditionalVAE, frames: np.ndarray, labels: np.ndarray) -> float:
    return _mean(one_step(model, Video("val", np.ascontiguousarray(frames), np.ascontiguousarray(labels))))


@look("pairing", "model", "val")
def better_with_another_pose(case: Case) -> str:
    """Predictions that are better with the pose of a neighbouring frame."""
    model, val = _known(case)
    inner = slice(2, -2)
    frames, count = val.frames[inner], len(val.frames)
    if len(frames) < 3:
        return ""
    scores = {s: _steps(model, frames, val.labels[2 + s : count - 2 + s]) for s in (-2, -1, 0, 1, 2)}
    best = max(scores, key=lambda s: scores[s])
    if best == 0 or scores[best] - scores[0] < CLEAR:
        return ""
    return f"x_t from the pose P_t has {scores[0]:.1f} dB, from P_(t{best:+d}) {scores[best]:.1f} dB: it was trained so"


@look("bgr", "model", "val")
def better_exchanged(case: Case) -> str:
    """Predictions that are better where red and blue are exchanged in frames and poses."""
    model, val = _known(case)
    straight = _steps(model, val.frames, val.labels)
    other = max(_steps(model, val.frames[..., ::-1], poses) for poses in (val.labels, val.labels[..., ::-1]))
    if other - straight < CLEAR:
        return ""
    return f"single steps have {straight:.1f} dB on RGB frames, {other:.1f} dB with red and blue exchanged"


@look("posterior-in-validation", "model", "val", "psnr")
def as_good_as_the_posterior(case: Case) -> str:
    """A reported PSNR that a rollout reaches with the posterior's z only."""
    found, said = _latent(case), case.psnr or 0.0
    with_posterior, drawn = found.psnr_mu, found.psnr_draws
    if said - drawn < CLEAR or said - drawn < 0.5 * (with_posterior - drawn) or with_posterior - drawn < CLEAR:
        return ""
    rollout = f"a rollout has {drawn:.2f} dB with z drawn, {with_posterior:.2f} dB with the posterior's"
    return f"{said:.2f} dB were reported; {rollout}"


@look("below-baseline", "model", "val")
def worse_than_a_copy(case: Case) -> str:
    """The validation's rollout against the baselines; without training frames only against the copy."""
    model, val = _known(case)
    average = _mean(psnr(predict(model, [val])[0][1:], val.frames[1:]))
    return shortfall(average, {name: _mean(curve) for name, curve in Baselines(case.train).scores(val).items()})
