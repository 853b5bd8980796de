"""The checks of notebook 06 tell mistakes apart."""

import pytest
import torch
from exercises import accepted, cells, rejected

from labutils import checks

# ------------------------------------------------------------------------------------------------- 6.1, last frame


def mask(teacher):
    return teacher[:, None, None, None]


LAST_FRAME = {
    "swapped": lambda c, true, own: torch.where(mask(c), own.detach(), true),
    "broadcasts over the width": lambda c, true, own: torch.where(c, true, own.detach()),
    "must be detached": lambda c, true, own: torch.where(mask(c), true, own),
    "the true frame for every clip": lambda c, true, own: true if c.any() else own.detach(),
    "the generated frame for every clip": lambda c, true, own: true if c.all() else own.detach(),
}


@pytest.mark.parametrize("hint", LAST_FRAME)
def test_last_frame_mistakes(hint):
    rejected(checks.last_frame, LAST_FRAME[hint], hint)


# ------------------------------------------------------------------------------------------------------- 6.2, loss


def loss_with(p, x, kl, beta, weight, l1, reduce=torch.mean, kl_reduce=torch.mean):
    error = p - x
    return reduce(error.square()) + l1 * error.abs().mean() + beta * weight * kl_reduce(kl)


LOSS = {
    "squared error is summed; average": lambda *a: loss_with(*a, reduce=torch.sum),
    "KL divergence is summed over the batch": lambda *a: loss_with(*a, kl_reduce=torch.sum),
    "KL divergence is summed over the clip": lambda *a: loss_with(*a, kl_reduce=lambda kl: kl.sum(1).mean()),
    "beta is missing": lambda p, x, kl, beta, w, l1: loss_with(p, x, kl, 1, w, l1),
    "KL weight is missing": lambda p, x, kl, beta, w, l1: loss_with(p, x, kl, beta, 1, l1),
    "added to the loss, not subtracted": lambda p, x, kl, beta, w, l1: loss_with(p, x, kl, -beta, w, l1),
    "root of the mean": lambda *a: loss_with(*a, reduce=lambda e: e.mean().sqrt()),
    r"absolute error \(l1\) is missing": lambda p, x, kl, beta, w, l1: loss_with(p, x, kl, beta, w, 0),
    "has the weight l1, not 1": lambda p, x, kl, beta, w, l1: loss_with(p, x, kl, beta, w, 1),
    "can be|no .item": lambda *a: loss_with(*a).detach(),
}


@pytest.mark.parametrize("hint", LOSS)
def test_loss_mistakes(hint):
    rejected(checks.training_loss, LOSS[hint], hint)


# ---------------------------------------------------------------------------------------------------- 6.3, rollout


def make_rollout(x_at=0, P_post=0, P_step=0, coin=-1, detach=True, dim=1, given=False, first=True):
    def answer(posterior, step, frames, labels, teacher):
        made = [frames[:, 0]] if given else []
        own = frames[:, 0] if first else torch.zeros_like(frames[:, 0])
        for t in range(1, frames.shape[1]):
            z = posterior(frames[:, t + x_at], labels[:, t + P_post])
            c = teacher[:, (t + coin) % teacher.shape[1]]
            last = torch.where(mask(c), frames[:, t - 1], own)
            prediction = step(last, labels[:, t + P_step], z)
            made.append(prediction)
            own = prediction.detach() if detach else prediction
        return torch.stack(made, dim=dim)

    return answer


ROLLOUT = {
    "posterior sees the last frame": make_rollout(x_at=-1),
    "posterior sees the last pose": make_rollout(P_post=-1),
    "decoder sees the last pose": make_rollout(P_step=-1),
    "both need labels": make_rollout(P_step=-1, P_post=-1),
    r"teacher\[:, t - 1\], not teacher\[:, t\]": make_rollout(coin=0),
    "x_1 is given: the first prediction": make_rollout(first=False),
    "is no prediction": make_rollout(given=True),
    "along dimension 1": make_rollout(dim=0),
    "detach the generated frame": make_rollout(detach=False),
}


def test_rollout_helper_without_a_mistake_passes():
    accepted(checks.training_rollout, make_rollout())


@pytest.mark.parametrize("hint", ROLLOUT)
def test_rollout_mistakes(hint):
    rejected(checks.training_rollout, ROLLOUT[hint], hint)


def test_rollout_that_is_fed_its_target():
    def answer(posterior, step, frames, labels, teacher):
        made = []
        for t in range(1, frames.shape[1]):
            last = frames[:, t]
            if t > 1:
                last = torch.where(mask(teacher[:, t - 1]), last, made[-1].detach())
            made.append(step(last, labels[:, t], posterior(frames[:, t], labels[:, t])))
        return torch.stack(made, dim=1)

    rejected(checks.training_rollout, answer, "the frame it has to predict")


@pytest.mark.parametrize(("always", "hint"), [(True, "true frame is fed throughout"), (False, "look at `teacher`")])
def test_rollout_that_ignores_the_coins(always, hint):
    def answer(posterior, step, frames, labels, teacher):
        return make_rollout()(posterior, step, frames, labels, torch.full_like(teacher, always))

    rejected(checks.training_rollout, answer, hint)


def test_rollout_that_is_fed_its_target_throughout():
    def answer(posterior, step, frames, labels, teacher):
        made = [step(*args, posterior(*args)) for args in zip(frames[:, 1:].unbind(1), labels[:, 1:].unbind(1))]
        return torch.stack(made, dim=1)

    rejected(checks.training_rollout, answer, "fed throughout, and it is what has to be predicted")


# ----------------------------------------------------------------------------------------------------- 6.4, resume


def make_resume(model="weights", averaged="state_dict", optimizer=True, step=0, best=True):
    def answer(run, checkpoint):
        if model:
            run.model.load_state_dict(checkpoint[model])
        if averaged:
            run.averaged.load_state_dict(checkpoint[averaged])
        if optimizer:
            run.optimizer.load_state_dict(checkpoint["optimizer"])
        if step is not None:
            run.step = checkpoint["step"] + step
        if best:
            run.best_psnr = checkpoint["best_psnr"]

    return answer


RESUME = {
    "is their average": make_resume(model="state_dict"),
    "weights are not restored": make_resume(model=None),
    "the average is what is validated": make_resume(averaged=None),
    "the average goes on from": make_resume(averaged="weights"),
    "first steps after the resume": make_resume(optimizer=False),
    "schedules start anew": make_resume(step=None),
    "add nothing": make_resume(step=1),
    "subtract nothing": make_resume(step=-1),
    "overwrites best.ckpt": make_resume(best=False),
}


@pytest.mark.parametrize("hint", RESUME)
def test_resume_mistakes(hint):
    rejected(checks.resume, RESUME[hint], hint)


def test_the_faulty_resume_of_the_text_is_rejected():
    text = cells(6)["exercise-6-4-text"].source
    space = {}
    exec(text.split("```python\n")[1].split("```")[0], space)
    rejected(checks.resume, space["resume"], "is their average")


def test_resume_that_raises_is_reported():
    rejected(checks.resume, lambda run, checkpoint: checkpoint["epoch"], "KeyError")
