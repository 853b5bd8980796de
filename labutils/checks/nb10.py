"""Checks of notebook 10: KL between two Gaussians, the best of N samples, the bookkeeping of replay."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from labutils.checks.core import call, compare, exercise, fail, require, show


@exercise("10.1", "KL divergence between two Gaussians")
def gaussian_kl(answer: Any, g: torch.Generator) -> None:
    """(mu_q, logvar_q, mu_p, logvar_p), each (B, N, h, w) -> KL(q || p) in nats, (B,)."""
    mu_q, logvar_q, mu_p, logvar_p = torch.randn(4, 5, 6, 2, 3, generator=g).unbind()  # each (B, N, h, w)

    def kl(m: Tensor, logvar: Tensor, n: Tensor, logvar_n: Tensor) -> Tensor:
        """KL(N(m, .) || N(n, .)) of each sample, as torch computes it."""
        q, p = Normal(m, torch.exp(logvar / 2)), Normal(n, torch.exp(logvar_n / 2))
        return kl_divergence(q, p).flatten(1).sum(1)  # (B,)

    size, q, p, zero = mu_q[0].numel(), (mu_q, logvar_q), (mu_p, logvar_p), torch.zeros_like(mu_q)
    right = kl(*q, *p)
    compare(
        "KL(q || p) of each sample",
        call(answer, *(x.clone() for x in (*q, *p))),
        right,
        {
            "this is KL(p || q): KL is not symmetric, the order of its arguments counts": kl(*p, *q),
            "logvar is log sigma^2, not log sigma: the variance is exp(logvar)": kl(
                mu_q, 2 * logvar_q, mu_p, 2 * logvar_p
            ),
            "exp(logvar / 2) is sigma; the formula wants the variance": kl(mu_q, logvar_q / 2, mu_p, logvar_p / 2),
            "summed over the latent, not averaged: the KL of independent elements adds up": right / size,
            "one value for each sample: sum over every axis but the first": kl(
                *(x.reshape(-1, 1) for x in (*q, *p))
            ).reshape(mu_q.shape).sum(1),
            "one value for each sample: the batch is not summed": right.sum(),
            "one value for each sample: the batch is not averaged": right.mean(),
            "the squared distance of the means is divided by the variance of p": kl(zero, logvar_q, zero, logvar_p)
            + (mu_q - mu_p).square().flatten(1).sum(1) / 2,
            "the distance of the means is missing": kl(zero, logvar_q, zero, logvar_p),
            "this is KL(q || N(0, I)): mu_p and logvar_p are not used": kl(*q, zero, zero),
        },
    )  # fmt: skip
    compare("KL(q || q)", call(answer, *(x.clone() for x in (*q, *q))), torch.zeros(5), atol=1e-4)


@exercise("10.2", "the best of N samples")
def best_sample(answer: Any, g: torch.Generator) -> None:
    """PSNR of n samples, float64 (n, T-1) -> number of the best one, and its score in dB."""
    for n, frames in ((8, 20), (1, 5), (3, 40)):
        noise = 4 * torch.randn(n, frames, generator=g, dtype=torch.float64)
        psnr = (30 + torch.randn(n, 1, generator=g, dtype=torch.float64) + noise).numpy()  # (n, T-1)
        if psnr.mean(axis=1).argmin() == psnr.mean(axis=1).argmax() + 1:  # two mistakes would look the same
            psnr = psnr[::-1].copy()
        score = psnr.mean(axis=1)  # (n,)
        result = call(answer, psnr.copy())
        pair = isinstance(result, (tuple, list)) and len(result) == 2
        require(pair, "two values: the number of the sample, its score", result, "end with `return k, score`")
        k, value = result
        compare(
            f"score of the best of {n}",
            value,
            score.max(),
            {
                "the best of each FRAME is no sample: average over frames first, then take the best": psnr.max(
                    0
                ).mean(),
                "this is the mean over all samples, not the best of them": psnr.mean(),
                "this is the best single frame; a sample is scored by its mean over frames": psnr.max(),
                "this is the worst sample; the higher the PSNR, the better": score.min(),
                "this is the median over frames; the score is their mean": np.median(psnr, axis=1).max(),
                "the axes are swapped: a row is a sample, a column is a frame": psnr.mean(axis=0).max(),
                "this is the PSNR of the mean MSE; the score is the mean of the PSNRs": -10
                * np.log10((10 ** (-psnr / 10)).mean(axis=1).min()),
            },
        )
        compare(
            f"number of the best of {n}",
            k,
            int(score.argmax()),
            {
                "samples count from 0": int(score.argmax()) + 1,
                "this is the worst sample": int(score.argmin()),
                "this is the sample with the best single frame": int(psnr.max(axis=1).argmax()),
            },
        )


@exercise("10.3", "one step of replay")
def replay_step(answer: Any, g: torch.Generator) -> None:
    """(frames, replay, batch, tfr, predict) -> t (B,), the frames that were predicted; ``replay`` changes in place."""
    first = _one_step(answer, g, tfr=0.0)
    second = _one_step(answer, g, tfr=0.0)
    _one_step(answer, g, tfr=1.0)
    _one_step(answer, g, tfr=0.25)
    different = not torch.equal(first, second)
    require(different, "other frames in every step", "the same ones", "draw t with torch.randint", "t")


def _one_step(answer: Any, g: torch.Generator, tfr: float, n: int = 7, batch: int = 400) -> Tensor:
    """Let the answer make a step among ``n`` frames of which each is known by its numbers; returns its t."""
    number = torch.arange(n, dtype=torch.float32)[:, None, None, None]  # (N, 1, 1, 1)
    frames, before = number + torch.rand(2, n, 3, 2, 4, generator=g) / 2  # each (N, 3, H, W)
    before += 100
    replay, calls = before.clone(), []

    def predict(t: Tensor, previous: Tensor) -> Tensor:
        calls.append((t.clone(), previous.clone()))
        return 200 + t[:, None, None, None] + torch.zeros_like(previous)  # (B, 3, H, W)

    t = call(answer, frames.clone(), replay, batch, tfr, predict)
    require(isinstance(t, Tensor) and t.shape == (batch,), f"t, a tensor ({batch},)", t, "end with `return t`")
    once = "all transitions are predicted at once, in parallel"
    require(len(calls) == 1, "one call of predict", f"{len(calls)} calls", once)
    given, previous = calls[0]
    require(torch.equal(given, t), f"predict(t, previous) with t = {t[:4].tolist()} …", given, "", "t in predict")

    low, high = int(t.min()), int(t.max())
    if low < 1 or high != n - 1:
        hint = "torch.randint leaves its upper bound out"
        if low < 1:
            hint = "frame 0 has no last frame: t - 1 is -1 there, the LAST entry of the array"
        fail(f"t from 1 to {n - 1}", f"t from {low} to {high}", hint, "the frames that are predicted")

    def is_entry(index: Tensor, source: Tensor) -> Tensor:
        """Which of ``previous`` are these entries of ``source``, (B,)."""
        return (previous == source[index % n]).flatten(1).all(1)

    true, own = is_entry(t - 1, frames), is_entry(t - 1, before)  # each (B,)
    if not bool((true | own).all()):
        hints = {0: "entry t is the frame that is to be predicted; the last frame is entry t - 1",
                 1: "entry t + 1 lies in the future; the last frame is entry t - 1"}  # fmt: skip
        fits = (k for k in hints if bool((true | own | is_entry(t + k, frames) | is_entry(t + k, before)).all()))
        fail("entry t - 1, of frames or of replay", show(previous), hints.get(next(fits, None), ""), "the last frames")
    share = float(true.double().mean())
    if abs(share - tfr) > (0.12 if 0 < tfr < 1 else 0):  # 0.12: over five standard deviations
        hint = "each transition draws for itself: torch.rand(batch) < tfr"
        if abs(1 - share - tfr) <= 0.12:
            hint = "swapped: with chance tfr it is the TRUE frame that is fed"
        fail(f"a share of {tfr:g}", f"a share of {share:.2f}", hint, "last frames that are true")

    after, shifted = before.clone(), before.clone()
    after[t] = shifted[t - 1] = 200.0 + t[:, None, None, None]
    if not torch.equal(replay, after):
        hint = "what predict returns is written there as it is"
        if torch.equal(replay, before):
            hint = "nothing was written: replay[t] = prediction, in place"
        elif torch.equal(replay, shifted):
            hint = "written to entry t - 1, but the prediction of transition t shows frame t"
        changed = (replay != before).flatten(1).any(1).nonzero().flatten().tolist()
        fail("entry t holds the prediction of frame t", f"changed entries: {changed}", hint, "replay after the step")
    return t
