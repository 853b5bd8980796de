"""What z is for: how much it carries, what that is worth, how different samples are, and a bound on log p(X given c).

Every measure works for each model and data set.  Rollouts feed each prediction back; z_t comes from the posterior's
mean, from a draw of the prior, or is the prior's mean ("zero", for the prior N(0, I)).
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labutils.errors import LabError
from labutils.evaluation import prior_noise, rollouts
from labutils.images import Video, to_float, to_uint8
from labutils.metrics import need_truth, psnr
from labutils.model import ConditionalVAE, evaluating
from labutils.modules import kl_divergence

ACTIVE = 0.01  # a unit of z is active where the variance of its posterior mean over frames is larger (Burda et al.)
USED = 0.1  # dB that z must be worth, and nats a frame that it must carry, to be called used
OUTSIDE = 0.25  # a value of a generator is wrong by far that lies so far outside [0, 1]

# ------------------------------------------------------------------------------------------------- what z is worth


@dataclass(frozen=True)
class LatentReport:
    """What z carries and what that is worth, on one video; PSNR in dB, means over frames 2..T of whole rollouts.

    Attributes:
        frames: predicted frames, T - 1.
        kl: KL(q || p) in nats a frame, along the rollout with z = mu.
        active_units, units: numbers of z whose posterior mean varies over frames, of all (Burda et al., ICLR 2016).
        psnr_mu, psnr_zero: with z = mu, the posterior's mean, which sees the target; with the prior's mean.
        psnr_draws: with draws from the prior, mean over ``draws`` rollouts.
        best_of: the largest PSNR among these.
        diversity: how much the draws' rollouts differ: std over draws in grey levels, averaged over all pixels.
    """

    frames: int
    kl: float
    active_units: int
    units: int
    psnr_mu: float
    psnr_zero: float
    psnr_draws: float
    draws: int
    best_of: float
    diversity: float

    @property
    def used(self) -> bool:
        """Whether z does something: it carries information, and predictions are better for it."""
        return self.kl > USED and self.psnr_mu - self.psnr_zero > USED

    def to_json(self) -> dict[str, Any]:
        """Plain values, unrounded."""
        return {**asdict(self), "used": self.used}

    def lines(self, unused: str = "pose and previous frame tell nearly all (notebook 05)") -> list[str]:
        """Two lines for people; ``unused`` is the reason that is given where z is not used."""
        carries = f"z carries {self.kl:.3f} nats a frame; {self.active_units} of its {self.units} numbers are active"
        worth = f"PSNR with z from the posterior {self.psnr_mu:.2f}, at the prior's mean {self.psnr_zero:.2f}, "
        worth += f"drawn {self.psnr_draws:.2f}, best of {self.draws}: {self.best_of:.2f} dB"
        why = "" if self.used else f": z is not used, for {unused}"
        return [carries + why, f"{worth} ({self.frames} frames)"]


def measure_latent(model: ConditionalVAE, video: Video, samples: np.ndarray, seed: int = 0) -> LatentReport:
    """What z carries and what that is worth on a video whose true frames are known.

    Args:
        samples: rollouts with z from the prior, as ``prior_rollouts`` gives them, uint8 (draws, T, H, W, 3).

    Raises:
        LabError: not all true frames are known.
    """
    truth, (made, mu, kl) = video.frames[1:], posterior_rollout(model, video)
    zero = prior_rollouts(model, video, 1, seed, std=0.0)[0]
    scores = np.stack([psnr(sample[1:], truth).mean() for sample in samples])
    return LatentReport(
        frames=len(truth), kl=float(kl.mean()), active_units=active_units(mu), units=mu.shape[1],
        psnr_mu=float(psnr(made[1:], truth).mean()), psnr_zero=float(psnr(zero[1:], truth).mean()),
        psnr_draws=float(scores.mean()), draws=len(samples), best_of=float(scores.max()),
        diversity=float(samples.std(axis=0, dtype=np.float32).mean()),
    )  # fmt: skip


@torch.no_grad()
def posterior_rollout(model: ConditionalVAE, video: Video) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A rollout with z_t = mu_t, the posterior's mean, which sees the frame that is to be predicted.

    Returns:
        frames uint8 (T, H, W, 3), x_1 first; mu float32 (T-1, N h w); KL in nats (T-1,).

    Raises:
        LabError: not all true frames are known.
    """
    need_truth(video)
    with evaluating(model) as device:
        x = to_float(video.frames[:1]).to(device)
        made, means, kls = [video.frames[0]], [], []
        for t in range(1, len(video.frames)):
            label = model.label_transformation(to_float(video.labels[t : t + 1]).to(device))
            current = to_float(video.frames[t : t + 1]).to(device)
            _, mu, logvar = model.posterior(current, label, previous=x)
            kls.append(kl_divergence(mu, logvar, model.prior(x, label)))
            x = model.step(x, label, mu).clamp(0, 1)
            made.append(to_uint8(x)[0])
            means.append(mu.flatten(1))
    return np.stack(made), torch.cat(means).cpu().numpy(), torch.cat(kls).cpu().numpy()


def prior_rollouts(
    model: ConditionalVAE, video: Video, draws: int, seed: int = 0, std: float = 1.0, progress: bool = False
) -> np.ndarray:
    """Rollouts of one video that differ in z only, uint8 (draws, T, H, W, 3).

    Args:
        std: factor on the prior's noise; 0 is the prior's mean throughout.
    """
    if draws < 1:
        raise LabError(f"draws is {draws}; at least 1 is needed")
    keys = [(seed, f"{video.name}/{k}") for k in range(draws)]
    return np.stack(rollouts(model, [video] * draws, keys, progress=progress, std=std))


def active_units(mu: np.ndarray) -> int:
    """How many units of z have a posterior mean that varies: Var(mu) > 0.01 over frames; mu is (T, D).

    Burda, Grosse & Salakhutdinov, "Importance Weighted Autoencoders" (ICLR 2016), section 5.2.
    """
    return int((mu.var(axis=0) > ACTIVE).sum())


@torch.no_grad()
def importance_bound(
    model: ConditionalVAE, video: Video, samples: int = 64, sigma_x: float | None = None, seed: int = 0, chunk: int = 8
) -> np.ndarray:
    """A lower bound on log p(x_t | x_{t-1}, P_t) in nats, with the previous TRUE frame: float64 (T-1,).

    log 1/K sum_k p(x|z_k) p(z_k) / q(z_k), z_k ~ q; it rises with K towards log p (Burda et al., ICLR 2016, eq. 8).

    Args:
        samples: K.
        sigma_x: std of p(x|z); default: that of training.
        chunk: frames that are computed together.
    """
    need_truth(video)
    s = model.cfg.sigma_x if sigma_x is None else sigma_x
    noise, bounds = torch.Generator().manual_seed(seed), []
    with evaluating(model) as device:
        for start in range(1, len(video.frames), chunk):
            stop = min(start + chunk, len(video.frames))
            pixels = video.frames[start - 1 : stop - 1], video.frames[start:stop], video.labels[start:stop]
            previous, x, poses = (
                to_float(p).to(device).repeat_interleave(samples, 0) for p in pixels
            )  # (n*K, 3, H, W)
            label = model.label_transformation(poses)
            draws = [torch.randn(samples, *model.latent_shape, generator=noise) for _ in range(start, stop)]
            eps = torch.cat(draws).to(device)  # (n*K, N, h, w): frame by frame, so that ``chunk`` does not matter
            z, mu, logvar = model.posterior(x, label, eps, previous)
            mean, spread = model.prior(previous, label) or (torch.zeros_like(mu), torch.zeros_like(logvar))
            weight = _log_normal(x, model.step(previous, label, z), x.new_full((), 2 * math.log(s)))
            weight = weight + _log_normal(z, mean, spread) - _log_normal(z, mu, logvar)  # (n*K,)
            bounds.append(weight.view(-1, samples).logsumexp(1) - math.log(samples))
    return torch.cat(bounds).double().cpu().numpy()


def _log_normal(x: Tensor, mean: Tensor, logvar: Tensor) -> Tensor:
    """log N(x; mean, exp(logvar)), summed over all but the first axis, in double precision."""
    x, mean, logvar = x.double(), mean.double(), logvar.double()
    return (-0.5 * ((x - mean).square() / logvar.exp() + logvar + math.log(2 * math.pi))).flatten(1).sum(1)


# ------------------------------------------------------------------------------------------- samples, and single steps


def best_of_n(model: Any, video: Video, n: int = 8, seed: int = 0, progress: bool = False) -> np.ndarray:
    """PSNR in dB of ``n`` predictions of one video that differ in z only, float64 (n, T-1).

    Stochastic predictors are scored by their best sample (Denton & Fergus, ICML 2018): ``.mean(axis=1).max()``.
    """
    if n < 1:
        raise LabError(f"best_of_n: n is {n}; at least 1 sample is needed")
    need_truth(video)
    samples = prior_rollouts(model, video, n, seed, progress=progress)
    return np.stack([psnr(sample[1:], video.frames[1:]) for sample in samples])


def one_step(model: Any, video: Video, seed: int = 0, chunk: int = 64) -> np.ndarray:
    """PSNR in dB of each frame predicted from the previous TRUE frame, z from the prior: float64 (T-1,).

    Beside the PSNR of a rollout it tells how much of the error comes from frames that are fed back.

    Args:
        chunk: frames that are predicted together.

    Raises:
        LabError: not all true frames are known.
    """
    need_truth(video)
    eps, values = prior_noise(model, len(video.frames) - 1, seed, video.name), []  # (T-1, N, h, w)
    with evaluating(model) as device:
        for start in range(1, len(video.frames), chunk):
            stop = min(start + chunk, len(video.frames))
            pixels = video.frames[start - 1 : stop - 1], video.frames[start:stop], video.labels[start:stop]
            previous, x, labels = (to_float(p).to(device) for p in pixels)  # (n, 3, H, W) each
            label = model.label_transformation(labels)
            z = model.draw(previous, label, eps[start - 1 : stop - 1].to(device))
            prediction = model.step(previous, label, z)
            values.append(psnr(prediction, x).cpu().numpy())
    return np.concatenate(values).astype(np.float64)


def output_hint(model: Any, video: Video, seed: int = 0, frames: int = 32) -> str:
    """What to say of a generator whose output leaves [0, 1] by far, where it is clipped; "" where it does not.

    It is fed with true frames, z from the prior.  Where a sigmoid brings the output nearer to the true frames than
    clipping does, it was in all likelihood trained with one.

    Args:
        video: without true frames, only x_2 is predicted, and compared with x_1.
        frames: the most that are looked at.
    """
    n = min(len(video.frames), frames + 1) if video.has_truth else 2
    eps = prior_noise(model, len(video.labels) - 1, seed, video.name)[: n - 1]  # (n-1, N, h, w)
    with evaluating(model) as device:
        known = to_float(video.frames[: n - 1]).to(device)  # (n-1, 3, H, W)
        true = to_float(video.frames[1:n]).to(device) if video.has_truth else known
        label = model.label_transformation(to_float(video.labels[1:n]).to(device))
        raw = model.step(known, label, model.draw(known, label, eps.to(device))).float()
        outside = float(((raw < -OUTSIDE) | (raw > 1 + OUTSIDE)).float().mean())
        clipped, squashed = (float((x - true).square().mean()) for x in (raw.clamp(0, 1), raw.sigmoid()))
    if outside < 0.05:
        return ""
    text = f"{outside:.0%} of the generator's values lie more than {OUTSIDE} outside [0, 1], where they are clipped"
    if squashed < clipped:
        return f"{text}; a sigmoid brings them nearer to the true frames: try --output sigmoid"
    return f"{text}; was it trained on frames of another range, or for too short a time?"


# ---------------------------------------------------------------------------------------------- directions and factors


def principal_directions(mu: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Principal component analysis: the orthonormal directions along which the rows of ``mu`` vary most.

    Args:
        mu: (T, D).
        count: directions wanted; fewer where ``mu`` does not vary in so many.

    Returns:
        directions (K, D), the standard deviation along each (K,), and each one's share of the variance (K,).
    """
    centred = mu.astype(np.float64) - mu.mean(0, dtype=np.float64)  # (T, D)
    if mu.shape[1] <= len(mu):
        _, singular, rows = np.linalg.svd(centred, full_matrices=False)
    else:  # the smaller of the two products has the same singular values
        values, columns = np.linalg.eigh(centred @ centred.T)  # (T,), (T, T), rising
        singular = np.sqrt(np.maximum(values[::-1], 0))
        rows = (columns[:, ::-1].T @ centred) / np.maximum(singular, 1e-300)[:, None]
    total = float((singular**2).sum())
    rank = int((singular > 1e-6 * max(singular[0], 1e-30)).sum()) if total > 0 else 1
    keep = min(count, rank)
    directions = rows[:keep]
    # A direction's sign is arbitrary: let its largest entry be positive.
    signs = np.sign(directions[np.arange(keep), np.abs(directions).argmax(1)])
    directions = directions * np.where(signs == 0, 1, signs)[:, None]
    return directions, singular[:keep] / math.sqrt(len(mu)), singular[:keep] ** 2 / (total or 1.0)


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's correlation of two series (T,); 0 where one of them does not vary."""
    x, y = x - x.mean(), y - y.mean()
    norm = math.sqrt(float((x**2).sum() * (y**2).sum()))
    return float((x * y).sum() / norm) if norm > 0 else 0.0


def held_out_fit(scores: np.ndarray, target: np.ndarray, folds: int = 5) -> tuple[np.ndarray, float]:
    """The best linear combination of ``scores``, judged on frames it was not fitted to.

    The video is cut into ``folds`` pieces; each is predicted by least squares from all the others.  (Neighbouring
    frames resemble each other, so pieces are held out, not single frames.)

    Args:
        scores: (T, K).
        target: (T,).

    Returns:
        the held-out predictions (T,), and R^2 = 1 - sum (target - prediction)^2 / sum (target - mean of the rest)^2,
        which is at most 1 and below 0 where the mean would have been better.
    """
    design = np.column_stack([np.ones(len(target)), scores])  # (T, 1 + K)
    prediction, mean = np.empty(len(target)), np.empty(len(target))
    for piece in np.array_split(np.arange(len(target)), folds):
        rest = np.setdiff1d(np.arange(len(target)), piece)
        weights = np.linalg.lstsq(design[rest], target[rest], rcond=None)[0]
        prediction[piece], mean[piece] = design[piece] @ weights, target[rest].mean()
    spread = float(((target - mean) ** 2).sum())
    return prediction, 1 - float(((target - prediction) ** 2).sum()) / spread if spread > 0 else 0.0
