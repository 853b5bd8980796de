"""The checks of notebook 10 tell mistakes apart."""

import numpy as np
import pytest
import torch
from exercises import rejected

from labutils import checks


def kl(m, v, n, w, reduce=lambda x: x.flatten(1).sum(1)):
    return reduce(0.5 * (w - v + (v.exp() + (m - n) ** 2) / w.exp() - 1))


KL_MISTAKES = {
    r"KL\(p \|\| q\)": lambda m, v, n, w: kl(n, w, m, v),
    "not log sigma": lambda m, v, n, w: kl(m, 2 * v, n, 2 * w),
    "is sigma; the formula wants the variance": lambda m, v, n, w: kl(m, v / 2, n, w / 2),
    "not averaged: the KL": lambda m, v, n, w: kl(m, v, n, w, lambda x: x.flatten(1).mean(1)),
    "every axis but the first": lambda m, v, n, w: kl(m, v, n, w, lambda x: x.sum(1)),
    "the batch is not summed": lambda m, v, n, w: kl(m, v, n, w, lambda x: x.sum()),
    "the batch is not averaged": lambda m, v, n, w: kl(m, v, n, w).mean(),
    "divided by the variance of p": lambda m, v, n, w: (
        0.5 * (w - v + v.exp() / w.exp() + (m - n) ** 2 - 1).flatten(1).sum(1)
    ),
    "the distance of the means is missing": lambda m, v, n, w: kl(m, v, m, w),
    "mu_p and logvar_p are not used": lambda m, v, n, w: kl(m, v, torch.zeros_like(n), torch.zeros_like(w)),
    "the sign is wrong": lambda m, v, n, w: -kl(m, v, n, w),
    "is 2 times": lambda m, v, n, w: 2 * kl(m, v, n, w),
    "off by 18": lambda m, v, n, w: kl(m, v, n, w, lambda x: (x + 0.5).flatten(1).sum(1)),
}


@pytest.mark.parametrize("hint", KL_MISTAKES)
def test_mistakes_in_the_kl_divergence(hint):
    rejected(checks.gaussian_kl, KL_MISTAKES[hint], hint)


def best(score, psnr):
    k = int(np.argmax(score))
    return k, float(score[k])


BEST_MISTAKES = {
    "average over frames first": lambda p: (int(p.mean(1).argmax()), p.max(axis=0).mean()),
    "the mean over all samples": lambda p: (int(p.mean(1).argmax()), p.mean()),
    "the best single frame; a sample": lambda p: best(p.max(axis=1), p),
    "the worst sample; the higher": lambda p: (int(p.mean(1).argmin()), p.mean(1).min()),
    "median": lambda p: best(np.median(p, axis=1), p),
    "axes are swapped": lambda p: best(p.mean(axis=0), p),
    "PSNR of the mean MSE": lambda p: best(-10 * np.log10((10 ** (-p / 10)).mean(axis=1)), p),
    "count from 0": lambda p: (int(p.mean(1).argmax()) + 1, p.mean(1).max()),
    "this is the worst sample$": lambda p: (int(p.mean(1).argmin()), p.mean(1).max()),
    "return k, score": lambda p: p.mean(1).max(),
}


@pytest.mark.parametrize("hint", BEST_MISTAKES)
def test_mistakes_in_the_best_of_n(hint):
    rejected(checks.best_sample, BEST_MISTAKES[hint], hint)


def step(low=1, high=0, entry=-1, write=0, source=lambda forced, frames, replay: torch.where(forced, frames, replay),
         one_for_all=False, store=True):  # fmt: skip
    """A replay step with a mistake built in."""

    def answer(frames, replay, batch, tfr, predict):
        t = torch.randint(low, len(frames) + high, (batch,))
        forced = torch.rand(1 if one_for_all else batch)[:, None, None, None] < tfr
        last = (t + entry) % len(frames)
        prediction = predict(t, source(forced, frames[last], replay[last]))
        if store:
            replay[(t + write) % len(frames)] = prediction
        return t

    return answer


def one_by_one(frames, replay, batch, tfr, predict):
    t = torch.randint(1, len(frames), (batch,))
    for k in t:
        replay[k] = predict(k[None], replay[k - 1][None])[0]
    return t


REPLAY_MISTAKES = {
    "frame 0 has no last frame": step(low=0),
    "upper bound out": step(high=-1),
    "entry t is the frame that is to be predicted": step(entry=0),
    "in the future": step(entry=1),
    "swapped: with chance tfr": step(source=lambda forced, frames, replay: torch.where(forced, replay, frames)),
    "each transition draws for itself": step(one_for_all=True),
    "a share of 1": step(source=lambda forced, frames, replay: frames),
    "entry t - 1, but the prediction": step(write=-1),
    "nothing was written": step(store=False),
    "predicted at once": one_by_one,
    "end with `return t`": lambda *args: (step()(*args), 0),
}


@pytest.mark.parametrize("hint", REPLAY_MISTAKES)
def test_mistakes_in_a_step_of_replay(hint):
    rejected(checks.replay_step, REPLAY_MISTAKES[hint], hint)


def test_a_step_that_repeats_itself_is_noticed():
    def fixed(frames, replay, batch, tfr, predict):
        torch.manual_seed(3)
        return step()(frames, replay, batch, tfr, predict)

    rejected(checks.replay_step, fixed, r"torch\.randint")
