"""Every exercise of every notebook: its cells, answers that are right, and its mistakes, each told by its own hint."""

import math
import re
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from exercises import accepted, answer, cell, cells, refused
from torch import nn
from torch.distributions import AffineTransform, MultivariateNormal, Normal, kl_divergence
from torch.utils.flop_counter import FlopCounterMode

from labutils import checks, metrics, modules
from labutils.checks import EXERCISES
from labutils.schedules import KLAnnealing, TeacherForcing
from labutils.teach.notebooks import check_call, find

NUMBERS = list(EXERCISES)
LETTERS = "8.1"  # wants letters, to which a function that is not written yet is a wrong answer
each = pytest.mark.parametrize("number", NUMBERS)


@pytest.mark.parametrize("kind", ["answer", "check"])
def test_the_notebooks_hold_the_exercises_that_have_checks(kind):
    ids = [key for path in find() for key in cells(int(path.name[:2]))]
    found = [key.removeprefix(f"{kind}-").replace("-", ".") for key in ids if re.fullmatch(rf"{kind}-\d+-\d+", key)]
    assert sorted(found) == sorted(NUMBERS) and len(found) >= 20


@each
def test_the_check_cell_hands_the_answer_to_its_check(number):
    source = cell("check", number).source
    assert source.startswith("# NBVAL_CHECK_OUTPUT\n")
    call = check_call(source)
    assert call is not None and len(call.args) == 1 and not call.keywords
    assert getattr(checks, call.func.attr) is EXERCISES[number]
    assert call.args[0].id == ("honest" if number == LETTERS else call.func.attr)


@each
def test_solution_and_reference_pass(number):
    accepted(EXERCISES[number], answer(number))
    accepted(EXERCISES[number], EXERCISES[number].reference)


@each
def test_passing_prints_one_line_and_a_missing_answer_is_to_do(number, capsys, monkeypatch):
    def unwritten(*args, **kwargs):
        raise NotImplementedError(f"exercise {number}")

    check = EXERCISES[number]
    monkeypatch.delenv("LAB_CHECK_SEED", raising=False)
    check(answer(number))
    monkeypatch.setenv("LAB_CHECK_SEED", "7")
    check(answer(number))
    assert capsys.readouterr().out == f"passed {number}: {check.title}\n" * 2
    for missing in [None, ""] if number == LETTERS else [None, unwritten]:
        check(missing)
        assert capsys.readouterr().out == f"to do {number}: {check.title}\n"


# ------------------------------------------------------------------------------------------------- right answers


def convolution(k, c_in, c_out, stride, padding, H, W):
    layer = nn.Conv2d(c_in, c_out, k, stride, padding)
    return tuple(layer(torch.zeros(1, c_in, H, W)).shape[1:]), sum(q.numel() for q in layer.parameters())


def field(layers):
    """Count the inputs that one output of a 1-D stack of all-ones kernels depends on."""
    length = 1
    for k, s in reversed(layers):
        length = (length - 1) * s + k  # the shortest input that gives this output
    y = x = torch.ones(1, 1, length + 8, dtype=torch.float64, requires_grad=True)
    for k, s in layers:
        y = nn.functional.conv1d(y, torch.ones(1, 1, k, dtype=torch.float64), stride=s)
    seen = torch.autograd.grad(y[0, 0, 0], x)[0][0, 0].nonzero()  # with large strides pixels between are skipped
    return int(seen[-1] - seen[0] + 1)


def wiring(model, x_prev, x_t, P_t, eps):
    feature = model.label_transformation(P_t)
    z, mu, logvar = model.posterior(x_t, feature, eps)
    return model.step(x_prev, feature, z), mu, logvar


def counted(k, channels, H, W):
    def stack(factor):
        x = nn.functional.pixel_unshuffle(torch.zeros(1, channels[0], H, W), factor)
        with FlopCounterMode(display=False) as counter:
            for a, b in pairwise([channels[0] * factor**2, *channels[1:]]):
                x = nn.functional.conv2d(x, torch.zeros(b, a, k, k), padding=k // 2)
        return counter.get_total_flops() // 2  # it counts 2 for a multiply-add

    return stack(1), stack(2)


def slopes(mu, logvar, eps):
    leaves = mu.requires_grad_(), logvar.requires_grad_()
    return torch.autograd.grad(AffineTransform(mu, logvar.exp().sqrt())(eps).sum(), leaves)


def covariance(W, sigma_x):
    return W @ W.mT + sigma_x**2 * torch.eye(len(W), dtype=W.dtype)


def log_p(x, c, W, U, b, sigma_x):
    return MultivariateNormal(c @ U.mT + b, covariance(W, sigma_x)).log_prob(x)


def conditioned(x, c, W, U, b, sigma_x):
    """The joint Gaussian of (z, x), conditioned on x."""
    gain = torch.linalg.solve(covariance(W, sigma_x), W).mT
    return (x - c @ U.mT - b) @ gain.mT, torch.eye(W.shape[1], dtype=x.dtype) - gain @ W


def below_log_p(x, c, mu, logvar, *model):
    """log p less its distance from the bound, the KL divergence to the true posterior."""
    mean, cov = conditioned(x, c, *model)
    q = MultivariateNormal(mu, torch.diag_embed(logvar.exp()))
    return log_p(x, c, *model) - kl_divergence(q, MultivariateNormal(mean, cov))


def floor_of_rand(N, T, count, generator):
    return (torch.rand(count, generator=generator) * (N - T + 1)).floor().long()


def bytes_by_numpy(x):
    return np.rint(255 * x.numpy().clip(0, 1)).astype(np.uint8)


def replayed_without_replacement(frames, replay, batch, tfr, predict):
    t = torch.randperm(len(frames) - 1)[:batch] + 1
    previous = replay[t - 1].clone()
    forced = torch.bernoulli(torch.full((batch,), tfr)).bool()
    previous[forced] = frames[t - 1][forced]
    replay.index_copy_(0, t, predict(t, previous))
    return t


OTHERS = [  # other ways to the right answer: torch's, the lab's own
    ("1.2", metrics.psnr),
    ("1.3", floor_of_rand),
    ("2.1", convolution),
    ("2.2", field),
    ("2.3", wiring),
    ("2.4", counted),
    ("3.1", modules.reparameterize),
    ("3.1", lambda mu, logvar, eps: mu.clone().add_(torch.exp(logvar / 2) * eps)),  # in place, in a copy
    ("3.2", modules.kl_divergence),
    ("3.4", slopes),
    ("4.1", log_p),
    ("4.1", lambda x, c, W, U, b, s: log_p(x, c, W, U, b, (s**2 + 1e-6) ** 0.5)),  # a jitter
    ("4.2", conditioned),
    ("4.3", below_log_p),
    (
        "3.2",
        lambda mu, logvar: sum(
            kl_divergence(Normal(m, v.exp().sqrt()), Normal(0, 1))
            for m, v in zip(mu.flatten(1).mT, logvar.flatten(1).mT)
        ),
    ),
    ("5.1", lambda i, n, kind, M, R, a, b: KLAnnealing(kind, a, b, M, R)(i, n)),
    ("5.2", lambda epoch, *settings: TeacherForcing(*settings)(epoch)),
    (
        "5.3",
        lambda mu, logvar, lam: sum(
            max(lam, kl) for kl in kl_divergence(Normal(mu, logvar.exp().sqrt()), Normal(0, 1)).mean(0)
        ),
    ),
    ("6.1", lambda teacher, true, own: own.detach().clone().index_put_((teacher,), true[teacher])),
    (
        "6.1",
        lambda teacher, true, own: (
            (true.mT * teacher[:, None, None, None] + own.detach().mT * ~teacher[:, None, None, None]).mT
        ),
    ),
    (
        "6.2",
        lambda y, x, kl, beta, weight, l1: (
            nn.functional.mse_loss(y, x) + l1 * nn.functional.l1_loss(y, x) + kl.mean() * weight * beta
        ),
    ),
    ("7.3", lambda x: torch.from_numpy(bytes_by_numpy(x))),
    ("8.4", lambda y, w: np.convolve(y, np.ones(w), "same") / np.convolve(np.ones(len(y)), np.ones(w), "same")),
    ("10.3", replayed_without_replacement),
    *((LETTERS, letters) for letters in ("C", {"c"}, ["c"], ("c",), " c ")),
    ("9.2", metrics.grade),
    ("9.3", lambda x: bytes_by_numpy(x).astype(int).ravel()),
]


@pytest.mark.parametrize("number, other", OTHERS, ids=[f"{number}-{k}" for k, (number, _) in enumerate(OTHERS)])
def test_other_ways_to_the_right_answer_pass(number, other):
    accepted(EXERCISES[number], other)


def test_the_linear_gaussian_references_against_sampling():
    g = torch.Generator().manual_seed(0)
    x, c, W, U, b, z = (torch.randn(n, generator=g, dtype=torch.float64)
                        for n in ((1, 3), (1, 1), (3, 2), (3, 1), (3,), (400_000, 2)))  # fmt: skip
    weight = Normal(z @ W.mT + c @ U.mT + b, 1.0).log_prob(x).sum(-1)  # importance sampling from the prior
    estimate = torch.logsumexp(weight, 0) - math.log(len(z))
    assert abs(estimate - EXERCISES["4.1"].reference(x, c, W, U, b, 1.0)) < 0.02
    mean, cov = EXERCISES["4.2"].reference(x, c, W, U, b, 1.0)
    share = torch.softmax(weight, 0)[:, None]
    torch.testing.assert_close((share * z).sum(0), mean[0], atol=0.02, rtol=0)
    torch.testing.assert_close(((share * z).T @ z) - mean.T @ mean, cov, atol=0.02, rtol=0)


# ------------------------------------------------------------------------------------------------- wrong answers


@pytest.mark.parametrize("seed", range(4))
@each
def test_every_mistake_is_refused_with_its_own_hint(number, seed):
    check = EXERCISES[number]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        failures = {hint: check.failure(wrong, seed) for hint, wrong in check.mistakes.items()}
    assert [hint for hint, failure in failures.items() if failure is None] == [], "pass"
    first = {hint: next(h for h, f in failures.items() if failure.like(f)) for hint, failure in failures.items()}
    assert {hint: other for hint, other in first.items() if other != hint} == {}, "get the hint of another"
    if seed == 0:
        last = list(check.mistakes)[-1]
        assert refused(check.judge, check.mistakes[last], seed).hint == last


def detached(number: str, **cut: int):
    """The reference with the arguments ``cut`` (name=place) detached."""

    def answer(*given):
        return EXERCISES[number].reference(*(v.detach() if k in cut.values() else v for k, v in enumerate(given)))

    return answer


def loss(prediction, x, kl, beta, weight, l1):
    error = prediction - x
    return error.square().mean().item() + l1 * error.abs().mean() + beta * weight * kl.mean()


def z_cut_off(model, x_prev, x_t, P_t, eps):
    feature = model.label_transformation(P_t)
    z, mu, logvar = model.posterior(x_t, feature, eps)
    return model.step(x_prev, feature, z.detach()), mu, logvar


def feature_cut_off(model, x_prev, x_t, P_t, eps):
    feature = model.label_transformation(P_t)
    z, mu, logvar = model.Gaussian_Predictor(model.frame_transformation(x_t).detach(), feature, eps)
    return model.step(x_prev, feature, z), mu, logvar


def overwriting(step, frames, labels, z):
    for t in range(1, labels.shape[1]):
        frames[:, t] = step(frames[:, t - 1], labels[:, t], z[:, t - 1]).clamp(0, 1)
    return frames


def fed_in_place(teacher, true, generated):
    true[~teacher] = generated[~teacher].detach()
    return true


def endings_without_dot(names):
    right = EXERCISES["9.4"].reference(names)
    return [name for name in names if name in right or name.lower().endswith(("ckpt", "pt", "pth", "pyc"))]


CUT, COPY = "cut off from the graph", "work on a copy"
RIGHT_IN_VALUE = [  # what is right about these is the value
    ("2.3", z_cut_off, CUT),
    ("2.3", feature_cut_off, CUT),
    ("2.3", torch.no_grad()(wiring), CUT),
    ("3.1", detached("3.1", mu=0), CUT),
    ("3.1", detached("3.1", logvar=1), CUT),
    ("3.1", lambda mu, logvar, eps: logvar.div_(2).exp_().mul_(eps).add_(mu), COPY),
    ("3.2", torch.no_grad()(modules.kl_divergence), CUT),
    ("3.2", detached("3.2", logvar=1), CUT),
    ("6.1", fed_in_place, COPY),
    ("6.2", loss, CUT),
    ("6.2", detached("6.2", kl=2), CUT),
    ("7.1", overwriting, COPY),
    ("7.3", lambda x: x.clamp_(0, 1).mul(255).round().byte(), COPY),
    ("9.4", endings_without_dot, "with its dot"),
]


@pytest.mark.parametrize("number, answer, hint", RIGHT_IN_VALUE)
def test_the_right_value_is_not_enough(number, answer, hint):
    assert hint in refused(EXERCISES[number].judge, answer, 0).hint


LEARN = "2.3 2.9 3.1 3.2 3.3 4.3 5.3 6.1 6.2 6.3 6.5 6.6 10.1".split()  # parts of a training


@each
def test_gradients_are_compared_where_an_answer_is_part_of_a_training(number):
    seen = []
    EXERCISES[number].failure(lambda *given: seen.extend(given), 0)
    weights = [q for v in seen for q in (v.parameters() if isinstance(v, nn.Module) else [v])]
    learns = number in LEARN or number == "7.5"  # where no graph may be left
    assert any(isinstance(q, torch.Tensor) and q.requires_grad for q in weights) == learns


@pytest.mark.parametrize("seed", range(4))
def test_the_faulty_resume_of_the_text_is_refused(seed):
    space = {}
    exec(cells(6)["exercise-6-4-text"].source.split("```python\n")[1].split("```")[0], space)
    assert refused(EXERCISES["6.4"].judge, space["resume"], seed).hint.endswith("is their average")


class Odd:
    """Nothing can be done with it."""

    def __getattr__(self, name):
        raise OSError("no")


ODD = [(), "text", b"bytes", {"a": 1}, (1, 2, 3), (None, None), [[1], [1, 2]], math.nan, math.inf, 10**400, True, dict,
       Odd(), torch.eye(3).to_sparse(), torch.ones(2, 3) * 1j, torch.empty(3, device="meta"), torch.zeros(0),
       np.array([None])]  # fmt: skip


@each
def test_whatever_an_answer_is_or_gives_becomes_a_message(number):
    for value in ODD[number == LETTERS :]:
        for odd in (value, lambda *given: value, lambda: value):  # noqa: B023
            failure = EXERCISES[number].failure(odd, 0)
            assert failure is not None
            assert len(str(failure).splitlines()) <= 4 and max(map(len, str(failure).splitlines())) < 260


def test_a_resume_that_raises_is_reported():
    failure = refused(EXERCISES["6.4"].judge, lambda run, checkpoint: checkpoint["epoch"], 0)
    assert failure.got == "KeyError: 'epoch'" and "line" in failure.hint
