"""Checks of notebook 10: KL between two Gaussians, the best of N samples, the bookkeeping of replay."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from labutils.checks.core import Answer, agree, call, exercise, require


def _kl(m: Tensor, v: Tensor, n: Tensor, w: Tensor) -> Tensor:
    """KL(N(m, exp(v)) || N(n, exp(w))) of each element, as torch computes it."""
    return kl_divergence(Normal(m, torch.exp(v / 2)), Normal(n, torch.exp(w / 2)))


def _summed(
    m: Tensor, v: Tensor, n: Tensor, w: Tensor, kl: Answer = _kl, over: Answer = lambda kl: kl.flatten(1).sum(1)
) -> Tensor:
    return over(kl(m, v, n, w))


@exercise("10.1", "KL divergence between two Gaussians", _summed, {
    "this is KL(p || q): KL is not symmetric, the order of its arguments counts":
        dict(kl=lambda m, v, n, w: _kl(n, w, m, v)),
    "logvar is log sigma^2, not log sigma: the variance is exp(logvar)":
        dict(kl=lambda m, v, n, w: _kl(m, 2 * v, n, 2 * w)),
    "exp(logvar / 2) is sigma; the formula wants the variance": dict(kl=lambda m, v, n, w: _kl(m, v / 2, n, w / 2)),
    "summed over the latent, not averaged: the KL of independent elements adds up":
        dict(over=lambda kl: kl.flatten(1).mean(1)),
    "one value for each sample: sum over every axis but the first": dict(over=lambda kl: kl.sum(1)),
    "one value for each sample: the batch is not summed": dict(over=torch.sum),
    "one value for each sample: the batch is not averaged": dict(over=lambda kl: kl.sum() / len(kl)),
    "the squared distance of the means is divided by the variance of p":
        dict(kl=lambda m, v, n, w: _kl(m, v, m, w) + (m - n).square() / 2),
    "the distance of the means is missing": dict(kl=lambda m, v, n, w: _kl(m, v, m, w)),
    "this is KL(q || N(0, I)): mu_p and logvar_p are not used": dict(kl=lambda m, v, n, w: _kl(m, v, 0 * n, 0 * w)),
})  # fmt: skip
def gaussian_kl(answer: Any, g: torch.Generator) -> None:
    """(mu_q, logvar_q, mu_p, logvar_p), each (B, N, h, w) -> KL(q || p) in nats, (B,)."""
    given = [torch.randn(5, 6, 2, 3, generator=g).requires_grad_() for _ in range(4)]  # each (B, N, h, w)
    agree("KL(q || p) of each sample", answer, _summed, *given)
    mu_q, logvar_q = (value.detach() for value in given[:2])
    agree("KL(q || q)", answer, _summed, mu_q, logvar_q, mu_q, logvar_q, atol=1e-4)


def _best(
    psnr: np.ndarray, score: Answer = lambda psnr: psnr.mean(axis=1), best: Answer = np.argmax, first: int = 0,
    value: Answer | None = None,
) -> tuple[int, float]:  # fmt: skip
    """An answer to 10.2, with room for mistakes: how a sample is scored, which is best, and what is returned of it."""
    scores = score(psnr)
    k = int(best(scores))
    return k + first, float(scores[k] if value is None else value(psnr))


@exercise("10.2", "the best of N samples", _best, {
    "the best of each FRAME is no sample: average over frames first, then take the best":
        dict(value=lambda psnr: psnr.max(axis=0).mean()),
    "this is the mean over all samples, not the best of them": dict(value=np.mean),
    "this is the best single frame; a sample is scored by its mean over frames":
        dict(score=lambda psnr: psnr.max(axis=1)),
    "this is the worst sample; the higher the PSNR, the better": dict(best=np.argmin),
    "this is the median over frames; the score is their mean": dict(score=lambda psnr: np.median(psnr, axis=1)),
    "the axes are swapped: a row is a sample, a column is a frame": dict(score=lambda psnr: psnr.mean(axis=0)),
    "this is the PSNR of the mean MSE; the score is the mean of the PSNRs":
        dict(score=lambda psnr: -10 * np.log10((10 ** (-psnr / 10)).mean(axis=1))),
    "samples count from 0": dict(first=1),
    "this is the worst sample": lambda psnr: (_best(psnr, best=np.argmin)[0], _best(psnr)[1]),
    "this is the sample with the best single frame":
        dict(score=lambda psnr: psnr.max(axis=1), value=lambda psnr: psnr.mean(axis=1).max()),
})  # fmt: skip
def best_sample(answer: Any, g: torch.Generator) -> None:
    """PSNR of n samples, float64 (n, T-1) -> number of the best one, and its score in dB."""
    for n, frames in ((8, 20), (1, 5), (3, 40)):
        noise = 4 * torch.randn(n, frames, generator=g, dtype=torch.float64)
        psnr = (30 + torch.randn(n, 1, generator=g, dtype=torch.float64) + noise).numpy()  # (n, T-1)
        if psnr.mean(axis=1).argmin() == psnr.mean(axis=1).argmax() + 1:  # two mistakes would look the same
            psnr = psnr[::-1].copy()
        agree(f"of the best of {n}", answer, _best, psnr, parts=("k", "score"), order=(1, 0))


# -------------------------------------------------------------------------------------------------------- replay


def _step(
    frames: Tensor, replay: Tensor, batch: int, tfr: float, predict: Answer,
    low: int = 1, high: int = 0, entry: int = -1, source: Answer = torch.where, draws: int = 0, write: int = 0,
    value: Answer | None = lambda prediction: prediction, seed: int = 0, end: Answer = lambda t: t,
) -> Any:  # fmt: skip
    """Which t are drawn, which entries are read and written."""
    if seed:
        torch.manual_seed(seed)
    N = len(frames)
    t = torch.randint(low, N + high, (batch,))
    forced = (torch.rand(draws or batch) < tfr)[:, None, None, None]  # (B, 1, 1, 1)
    prediction = predict(t, source(forced, frames[(t + entry) % N], replay[(t + entry) % N]))
    if value is not None:
        replay[(t + write) % N] = value(prediction)
    return end(t)


def _one_by_one(frames: Tensor, replay: Tensor, batch: int, tfr: float, predict: Answer) -> Tensor:
    t = torch.randint(1, len(frames), (batch,))
    for k in t:
        replay[k] = predict(k[None], replay[k - 1][None])[0]
    return t


@exercise("10.3", "one step of replay", _step, {
    "end with `return t`": dict(end=lambda t: (t, 0)),
    "all transitions are predicted at once, in parallel": _one_by_one,
    "return the t that predict was given": dict(end=lambda t: t.flip(0)),
    "frame 0 has no previous frame: t - 1 is -1 there, the LAST entry of the array": dict(low=0),
    "torch.randint leaves its upper bound out": dict(high=-1),
    "entry t is the frame that is to be predicted; the previous frame is entry t - 1": dict(entry=0),
    "entry t + 1 lies in the future; the previous frame is entry t - 1": dict(entry=1),
    "swapped: with chance tfr it is the TRUE frame that is fed":
        dict(source=lambda forced, true, own: torch.where(forced, own, true)),
    "the generated frame is fed throughout; with chance tfr it is the true one":
        dict(source=lambda forced, true, own: own),
    "each transition draws for itself: torch.rand(batch) < tfr": dict(draws=1),
    "nothing was written: replay[t] = prediction, in place": dict(value=None),
    "written to entry t - 1, but the prediction of transition t shows frame t": dict(write=-1),
    "what predict returns is written there as it is": dict(value=lambda prediction: prediction.clamp(0, 1)),
    "draw anew in every step: fix no seed": dict(seed=3),
    "torch.randint includes its lower bound: frame 1 has a previous frame too": dict(low=2),
})  # fmt: skip
def replay_step(answer: Any, g: torch.Generator) -> None:
    """(frames, replay, batch, tfr, predict) -> t (B,), the frames that were predicted; ``replay`` changes in place."""
    n, batch = 7, 5  # batch < n: t may be drawn without replacement
    drawn: list[Tensor] = []
    for tfr, steps in ((0.0, 8), (1.0, 8), (0.5, 60)):
        made = [_one_step(answer, g, tfr, n, batch) for _ in range(steps)]
        drawn += [t for t, _ in made]
        each = torch.stack([true for _, true in made]).double()  # (steps, B)
        share, own, what = float(each.mean()), each.std(1).any(), f"previous frames that are true, tfr = {tfr:g}"
        require(own or tfr != 0.5 or share in (0, 1), "in one step some, not all or none", "all or none", what=what)
        near = abs(share - tfr) <= (0.15 if tfr == 0.5 else 0)  # 0.15: five standard deviations
        require(near, f"a share of {tfr:g}", f"a share of {share:.2f}", what=what)
    t = torch.stack(drawn)  # (all steps, B)
    low, high, what = int(t.min()), int(t.max()), "the frames that are predicted"
    require((t != t[0]).any(), "other frames in every step", "the same ones", what=what)
    require(low >= 1, "t from 1", f"t from {low}", what=what)
    require(high == n - 1, f"t up to {n - 1}", f"t up to {high}", what=what)
    found = t.unique().tolist()
    require(found == [*range(1, n)], f"each of 1..{n - 1} is drawn", f"only {found}", what=what)


def _one_step(answer: Any, g: torch.Generator, tfr: float, n: int, batch: int) -> tuple[Tensor, Tensor]:
    """Let the answer make a step among ``n`` frames of which each is known by its numbers.

    Returns:
        Its t, and which of the previous frames are true, both (B,).
    """
    number = torch.arange(n, dtype=torch.float32)[:, None, None, None]  # (N, 1, 1, 1)
    frames, before = number + torch.rand(2, n, 3, 2, 4, generator=g) / 2  # each (N, 3, H, W)
    before += 100
    replay, calls = before.clone(), []

    def predict(t: Tensor, previous: Tensor) -> Tensor:
        calls.append((t.clone(), previous.clone()))
        return 200 + t[:, None, None, None] + torch.zeros_like(previous)  # (B, 3, H, W)

    t = call(answer, frames, replay, batch, tfr, predict, changes=[1])
    require(isinstance(t, Tensor) and t.shape == (batch,), f"t, a tensor ({batch},)", t)
    require(len(calls) == 1, "one call of predict", f"{len(calls)} calls")
    given, previous = calls[0]
    require(torch.equal(given, t), "the same t in predict and at the end", given, what="t in predict")

    def is_entry(index: Tensor, source: Tensor) -> Tensor:
        """Which of ``previous`` are these entries of ``source``, (B,)."""
        return (previous == source[index % n]).flatten(1).all(1)

    true, what = is_entry(t - 1, frames), "the previous frames"  # (B,)
    right = true | is_entry(t - 1, before)
    if not right.all():
        for k, name in ((0, "t"), (1, "t + 1")):
            other = (right | is_entry(t + k, frames) | is_entry(t + k, before)).all()
            require(not other, f"entry t - 1, not {name}, of frames or of replay", previous, what=what)
        require(False, "entry t - 1, of frames or of replay", previous, what=what)

    after, shifted = before.clone(), before.clone()
    after[t] = shifted[t - 1] = 200.0 + t[:, None, None, None]
    if not torch.equal(replay, after):
        what = "replay after the step"
        changed = f"changed entries: {(replay != before).flatten(1).any(1).nonzero().flatten().tolist()}"
        require(not torch.equal(replay, before), "other entries t", "no entry has changed", what=what)
        require(not torch.equal(replay, shifted), "entry t, not t - 1, holds the prediction", changed, what=what)
        require(False, "entry t holds the prediction of frame t", changed, what=what)
    return t, true
