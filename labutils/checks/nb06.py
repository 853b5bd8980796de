"""Checks of the exercises in notebook 06: teacher forcing, the loss, a training step, a resume."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labutils.checks.core import Answer, agree, call, compare, exercise, fail, require, same
from labutils.modules import kl_divergence


def _mask(teacher: Tensor) -> Tensor:
    return teacher[:, None, None, None]  # (B, 1, 1, 1)


def _fed(teacher: Tensor, true: Tensor, generated: Tensor) -> Tensor:
    return torch.where(_mask(teacher), true, generated.detach())


@exercise("6.1", "the previous frame under teacher forcing", _fed, {
    "True means the TRUE frame is fed; the two are swapped": lambda teacher, true, own: _fed(~teacher, true, own),
    "the mask (B,) broadcasts over the width; reshape it to (B, 1, 1, 1)":
        lambda teacher, true, own: torch.where(teacher, true, own.detach()),
    "the true frame for every clip; each clip has a coin of its own": lambda teacher, true, own: true,
    "the generated frame for every clip; each clip has a coin of its own": lambda teacher, true, own: own.detach(),
    "the generated frame must be detached, or the gradient runs through all steps before it":
        lambda teacher, true, own: torch.where(_mask(teacher), true, own),
})  # fmt: skip
def last_frame(answer: Any, g: torch.Generator) -> None:
    """answer(teacher (B,) bool, true (B, 3, H, W), generated (B, 3, H, W)) -> (B, 3, H, W)."""
    B, H, W = 5, 4, 5  # W = B: a mask that is not reshaped broadcasts over the width without a word
    teacher = torch.tensor([True, False, False, True, False])[torch.randperm(B, generator=g)]
    true, generated = torch.rand(2, B, 3, H, W, generator=g)
    agree("the frames that are fed", answer, _fed, teacher, true, generated.requires_grad_())


def _loss(
    prediction: Tensor, x: Tensor, kl: Tensor, beta: float, weight: float, l1: float = 0.0,
    squared: Answer = torch.mean, absolute: Answer = lambda error, l1: l1 * error.abs().mean(),
    total: Answer = torch.mean, scale: Answer = lambda beta, weight: beta * weight,
) -> Tensor:  # fmt: skip
    """How the squared error, the absolute error and KL are taken, and the factor before KL."""
    error = prediction - x
    return squared(error.square()) + absolute(error, l1) + scale(beta, weight) * total(kl)


@exercise("6.2", "the loss", _loss, {
    "the squared error is summed; average it over everything": dict(squared=torch.sum),
    "the squared error is summed over a clip; average it over everything": dict(squared=lambda e: e.sum() / len(e)),
    "the KL divergence is summed over the batch; average it": dict(total=torch.sum),
    "the KL divergence is summed over the clip; average it": dict(total=lambda kl: kl.sum() / len(kl)),
    "beta is missing": dict(scale=lambda beta, weight: weight),
    "the KL weight is missing beside beta": dict(scale=lambda beta, weight: beta),
    "the KL term is missing": dict(scale=lambda beta, weight: 0),
    "the KL divergence is added to the loss, not subtracted": dict(scale=lambda beta, weight: -beta * weight),
    "root of the mean squared error: the root is too much": dict(squared=lambda e: e.mean().sqrt()),
    "the mean absolute error (l1) is missing": dict(absolute=lambda error, l1: 0),
    "the mean absolute error has the weight l1, not 1": dict(absolute=lambda error, l1: error.abs().mean()),
    "the absolute error stands in place of the squared one": dict(squared=lambda e: e.sqrt().mean()),
})  # fmt: skip
def training_loss(answer: Any, g: torch.Generator) -> None:
    """answer(prediction, x, kl, beta, weight, l1) -> the loss, a number; images (B, T, 3, H, W), kl (B, T)."""
    B, T, H, W = 2, 3, 4, 6
    x = torch.rand(B, T, 3, H, W, generator=g)
    prediction = (x + 1.5 * torch.randn(x.shape, generator=g)).requires_grad_()  # a loss above 1
    kl = (20 * torch.rand(B, T, generator=g)).requires_grad_()
    for l1 in (0.0, 0.1):
        beta, weight = 0.4, 0.01 * (1 + torch.rand((), generator=g).item())
        agree(f"the loss with l1 = {l1:g}", answer, _loss, prediction, x, kl, beta, weight, l1, atol=1e-7)


def _rolled(
    posterior: Answer, step: Answer, frames: Tensor, labels: Tensor, teacher: Tensor,
    x_at: int = 0, posterior_P_at: int = 0, P_at: int = 0, fed: int = -1, coin: int = -1, always: bool | None = None,
    given: bool = True, cut: Answer = torch.detach, end: Answer = lambda x_1, made: torch.stack(made, dim=1),
) -> Tensor:  # fmt: skip
    """Which frame, pose and coin belong to step t, and what x_1 is for."""
    made, own = [], torch.zeros_like(frames[:, 0])
    for t in range(1, frames.shape[1]):
        z = posterior(frames[:, t + x_at], labels[:, t + posterior_P_at])
        true, true_is_fed = frames[:, t + fed], teacher[:, (t + coin) % teacher.shape[1]]
        if always is not None:
            true_is_fed = torch.full_like(true_is_fed, always)
        last = true if t == 1 and given else torch.where(_mask(true_is_fed), true, own)  # (B, 3, H, W)
        made.append(step(last, labels[:, t + P_at], z))
        own = cut(made[-1])
    return end(frames[:, 0], made)


@exercise("6.3", "the training rollout", _rolled, {
    "the decoder is fed the frame it has to predict, frames[:, t]; the last one is frames[:, t - 1]": dict(fed=0),
    "frames[:, t] is fed throughout, and it is what has to be predicted; look at `teacher`": dict(fed=0, always=True),
    "the posterior sees the previous frame; it must see the current one, frames[:, t]": dict(x_at=-1),
    "the posterior sees the previous pose; it must see the current one, labels[:, t]": dict(posterior_P_at=-1),
    "the decoder sees the previous pose; it must see the current one, labels[:, t]": dict(P_at=-1),
    "posterior and decoder see the previous pose; both need labels[:, t]": dict(posterior_P_at=-1, P_at=-1),
    "the coin of frames[:, t] is teacher[:, t - 1], not teacher[:, t]": dict(coin=0),
    "the coin of frames[:, t] is teacher[:, t - 1], not teacher[:, t - 2]": dict(coin=-2),
    "the true frame is fed throughout; look at `teacher`": dict(always=True),
    "the generated frame is fed throughout; look at `teacher`": dict(always=False),
    "x_1 is given: the first prediction is fed with it whatever its coin says": dict(given=False),
    "the given frame x_1 is no prediction: return x_2 .. x_T only":
        dict(end=lambda x_1, made: torch.stack([x_1, *made], dim=1)),
    "stack the predictions along dimension 1, (B, T-1, 3, H, W)": dict(end=lambda x_1, made: torch.stack(made)),
    "detach the generated frame that is fed back, or the gradient runs through all steps before it":
        dict(cut=lambda x: x),
})  # fmt: skip
def training_rollout(answer: Any, g: torch.Generator) -> None:
    """answer(posterior, step, frames, labels, teacher) -> (B, T-1, 3, H, W); frames, labels (B, T, 3, H, W)."""
    B, T, H, W, N = 3, 5, 4, 6, 2
    frames, labels = torch.rand(2, B, T, 3, H, W, generator=g)
    teacher = torch.rand(B, T - 1, generator=g) < 0.5
    teacher[:2, 0] = torch.tensor([True, False])  # x_1 is fed whatever the coin says
    teacher[0, 1:3], teacher[1, 1:3] = torch.tensor([True, False]), torch.tensor([False, True])
    weights = torch.rand(N + 1, generator=g) + 0.5
    posterior, step = _Small(_posterior, weights[:N]), _Small(_step, weights[N:] / 2)
    agree("the predictions of x_2 .. x_T", answer, _rolled, posterior, step, frames, labels, teacher)


class _Small(nn.Module):
    """A function (weight, *inputs) as a module with this weight."""

    def __init__(self, function: Answer, weight: Tensor):
        super().__init__()
        self.function, self.weight = function, nn.Parameter(weight)

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self.weight, *inputs)


def _posterior(weight: Tensor, x: Tensor, P: Tensor) -> Tensor:
    told = (x * torch.linspace(0.5, 1.5, x.shape[-1]) + 0.3 * P).mean(dim=(1, 2, 3))  # (B,)
    return (told[:, None] * weight)[..., None, None]  # (B, N, 1, 1)


def _step(weight: Tensor, last: Tensor, P: Tensor, z: Tensor) -> Tensor:
    return torch.tanh(weight * last + 0.3 * P.flip(-1) + 0.2 * z.sum(1, keepdim=True) - 0.5)  # some below 0


# ------------------------------------------------------------------------------------------------------ the resume


class _Run:
    """A training of a tiny network: model, averaged, optimizer, step, best_psnr."""

    def __init__(self, seed: int):
        torch.manual_seed(seed)
        self.model = nn.Linear(3, 2)
        self.averaged = copy.deepcopy(self.model).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1)
        self.step, self.best_psnr = 0, float("-inf")

    def train(self, steps: int, total: int = 40) -> list[float]:
        """``steps`` more steps of a training of ``total``, whose rate falls linearly; returns the losses."""
        losses = []
        for _ in range(steps):
            g = torch.Generator().manual_seed(self.step)  # batches are drawn by the step, as in labutils.training
            x = torch.randn(8, 3, generator=g)
            y = torch.stack([x[:, 0] - x[:, 1], 2 * x[:, 2]], dim=1)
            self.optimizer.param_groups[0]["lr"] = 0.1 * (1 - self.step / total)
            loss = F.mse_loss(self.model(x), y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            with torch.no_grad():
                for mean, value in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
                    mean.lerp_(value, 0.1)
            self.step += 1
            losses.append(loss.item())
        return losses


def _resumed(
    run: _Run, checkpoint: dict[str, Any], model: str = "weights", averaged: str = "state_dict",
    optimizer: bool = True, step: int | None = 0, best: bool = True,
) -> None:  # fmt: skip
    """What model and average are loaded from ("" for nothing), and what else is restored."""
    for module, key in ((run.model, model), (run.averaged, averaged)):
        if key:
            module.load_state_dict(checkpoint[key])
    if optimizer:
        run.optimizer.load_state_dict(checkpoint["optimizer"])
    if step is not None:
        run.step = checkpoint["step"] + step
    if best:
        run.best_psnr = checkpoint["best_psnr"]


@exercise("6.4", "what a resume must restore", _resumed, {
    'the model goes on from checkpoint["weights"]; "state_dict" is their average': dict(model="state_dict"),
    "the model's weights are not restored": dict(model=""),
    'the average goes on from checkpoint["state_dict"]': dict(averaged="weights"),
    "the average is what is validated and saved; it goes on too": dict(averaged=""),
    "without its moments the first steps after the resume are of the wrong size": dict(optimizer=False),
    "without the step, learning rate and schedules start anew": dict(step=None),
    "the checkpoint's step is the number of steps done, and so the next one's number: add nothing": dict(step=1),
    "the checkpoint's step is the number of steps done, and so the next one's number: subtract nothing": dict(step=-1),
    "without the best PSNR so far, the next validation overwrites best.ckpt, however bad it is": dict(best=False),
})  # fmt: skip
def resume(answer: Any, g: torch.Generator) -> None:
    """answer(run, checkpoint) puts ``run`` (model, averaged, optimizer, step, best_psnr) where the checkpoint was."""
    seed = int(torch.randint(0, 1000, (), generator=g))
    run = _Run(seed)
    run.train(12)
    checkpoint: dict[str, Any] = copy.deepcopy({
        "state_dict": run.averaged.state_dict(), "weights": run.model.state_dict(),
        "optimizer": run.optimizer.state_dict(), "step": run.step, "best_psnr": 31.5,
    })  # fmt: skip
    expected = run.train(6)

    fresh = _Run(seed + 1)

    def resumed(run: _Run, checkpoint: dict[str, Any]) -> _Run:
        done = answer(run, checkpoint)  # it need not return anything
        return done if isinstance(done, _Run) else run

    fresh = call(resumed, fresh, copy.deepcopy(checkpoint))
    for name, key in (("model", "weights"), ("averaged", "state_dict")):
        state = getattr(fresh, name).state_dict()
        loaded = (k for k in ("weights", "state_dict") if all(same(state[n], v) for n, v in checkpoint[k].items()))
        found, right = next((f'checkpoint["{k}"]' for k in loaded), "other weights"), f'checkpoint["{key}"]'
        if found != right:
            fail(right, found, what=f"run.{name}")
    moments = fresh.optimizer.state_dict()["state"]
    require(moments, "the optimizer's moments", "an optimizer without state", what="run.optimizer")
    compare("run.step", fresh.step, checkpoint["step"])
    compare("run.best_psnr", fresh.best_psnr, checkpoint["best_psnr"])
    compare("the losses of the next 6 steps", fresh.train(6), expected)


# ------------------------------------------------------------------------------------------------ a training step


def _clip_loss(
    model: Any, frames: Tensor, labels: Tensor, teacher: Tensor, beta: float, weight: float, l1: float = 0.0,
    sees: int = 0, target: int = 1, told: Answer = kl_divergence, over: Answer = lambda kl: kl,
    put: tuple[int, ...] = (0, 1, 2), cut: Answer = lambda x: x, reported: Answer = torch.mean,
    coins: Answer | None = None, fed: Answer = torch.detach, shown: Answer = torch.detach,
) -> Any:  # fmt: skip
    """Loss, MSE and KL of training clips; with room for mistakes."""
    kls: list[Tensor] = []

    def posterior(x: Tensor, P: Tensor) -> Tensor:
        z, mu, logvar = model.posterior(x, P)
        kls.append(told(mu, logvar))
        return z

    given = teacher if coins is None else coins(teacher)
    prediction = cut(_rolled(posterior, model.step, frames, labels, given, x_at=sees, cut=fed))
    kl = over(torch.stack(kls, dim=1))  # (B, T-1)
    truth = frames[:, 1:] if target else frames[:, :-1]
    loss = _loss(prediction, truth, kl, beta, weight, l1)
    values = loss, shown((prediction - truth).square().mean()), shown(reported(kl))
    return tuple(values[k] for k in put)


class _Model(nn.Module):
    """What 6.5 needs of a model, without chance: z = mu + sigma / 2."""

    def __init__(self, weights: Tensor):
        super().__init__()
        self.weight = nn.Parameter(weights)

    def posterior(self, x: Tensor, P: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mu, logvar = _posterior(self.weight[:2], x, P), _posterior(self.weight[2:4], x, P) - 1
        return mu + torch.exp(0.5 * logvar) / 2, mu, logvar

    def step(self, last: Tensor, P: Tensor, z: Tensor) -> Tensor:
        return _step(self.weight[4:], last, P, z)


@exercise("6.5", "the loss of training clips", _clip_loss, {
    "the posterior sees the previous frame; it must see the current one": dict(sees=-1),
    "the predictions are those of frames[:, 1:]; this compares them with frames[:, :-1]": dict(target=0),
    "the KL divergence is missing": dict(told=lambda mu, logvar: 0 * mu.flatten(1).sum(1)),
    "only the last step's KL divergence is counted": dict(over=lambda kl: kl[:, -1:]),
    "the KL divergence is summed over the clip; its mean over all frames counts":
        dict(over=lambda kl: kl.sum(1, keepdim=True)),
    "the order is loss, mse, kl": dict(put=(0, 2, 1)),
    "the loss comes first": dict(put=(1, 0, 2)),
    "kl is the mean in nats a frame, not its part of the loss": dict(reported=lambda kl: 0.02 * kl.mean()),
    "the true frame is fed throughout; hand `teacher` on": dict(coins=torch.ones_like),
    "the generated frame is fed throughout; hand `teacher` on": dict(coins=torch.zeros_like),
    "the loss must be differentiable: do not detach the prediction": dict(cut=torch.detach),
    "the KL divergence must be differentiable: detach only what is returned beside the loss":
        dict(told=lambda mu, logvar: kl_divergence(mu, logvar).detach()),
    "the generated frame that is fed back must be detached, as my.training_rollout does": dict(fed=lambda x: x),
    "mse and kl are there to be looked at: detach them, or their graphs stay in memory": dict(shown=lambda x: x),
})  # fmt: skip
def clip_loss(answer: Any, g: torch.Generator) -> None:
    """answer(model, frames, labels, teacher, beta, weight, l1) -> loss, mse, kl; frames, labels (B, T, 3, H, W)."""
    B, T, H, W = 3, 5, 4, 6
    frames, labels = torch.rand(2, B, T, 3, H, W, generator=g)
    teacher = torch.rand(B, T - 1, generator=g) < 0.5
    teacher[:2, 1:3] = torch.tensor([[True, False], [False, True]])
    model = _Model(torch.rand(5, generator=g) * torch.tensor([2, 2, 1, 1, 0.5]) + torch.tensor([2, 2, 0.5, 0.5, 0.3]))
    parts = ("the loss", "mse", "kl")
    for l1 in (0.0, 0.1):
        inputs = (model, frames, labels, teacher, 0.4, 0.05, l1)
        made = agree(f"with l1 = {l1:g}", answer, _clip_loss, *inputs, parts=parts, order=(1, 2, 0))
        kept = any(isinstance(value, Tensor) and value.requires_grad for value in made[1:])
        require(not kept, "mse and kl without a graph", "a graph", what="what is returned beside the loss")


def _stepped(
    model: nn.Module, averaged: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, decay: float,
    max_norm: float = 1.0, order: str = "backward clip step zero average", share: Answer = lambda decay: 1 - decay,
    norm: Answer = lambda max_norm: max_norm, guard: bool = True,
) -> None:  # fmt: skip
    """What is done, in which order, and how far the average moves."""
    for part in order.split():
        if part == "backward":
            loss.backward()
        elif part == "clip":
            torch.nn.utils.clip_grad_norm_(model.parameters(), norm(max_norm))
        elif part == "scale":  # to this norm, whether it is larger or not
            grads = [p.grad for p in model.parameters() if p.grad is not None]
            size = torch.nn.utils.get_total_norm(grads)
            for grad in grads:
                grad.mul_(max_norm / size)
        elif part == "values":
            torch.nn.utils.clip_grad_value_(model.parameters(), max_norm)
        elif part == "step":
            optimizer.step()
        elif part == "zero":
            optimizer.zero_grad()
        else:
            with torch.set_grad_enabled(not guard):
                for mean, value in zip(averaged.parameters(), model.parameters(), strict=True):
                    mean.lerp_(value, share(decay))


@exercise("6.6", "one training step", _stepped, {
    "the weights do not move: is optimizer.step() missing, or are the gradients cleared before it?":
        dict(order="backward clip zero step average"),
    "the gradients are not clipped as the optimizer steps: clip_grad_norm_ comes between backward and step":
        dict(order="backward step clip zero average"),
    "only a gradient longer than max_norm is clipped; a shorter one stays as it is":
        dict(order="backward scale step zero average"),
    "clip the norm of all gradients together (clip_grad_norm_), not each value":
        dict(order="backward values step zero average"),
    "clip to max_norm, not to a norm of 1": dict(norm=lambda max_norm: 1.0),
    "the gradients are never set to zero: they add up from step to step": dict(order="backward clip step average"),
    "the average is not updated": dict(order="backward clip step zero"),
    "the average follows the NEW weights: update it after the optimizer's step":
        dict(order="average backward clip step zero"),
    "decay is what is kept of the average; it moves by 1 - decay": dict(share=lambda decay: decay),
    "the average moves a little, it is no copy": dict(share=lambda decay: 1.0),
    "the averaged weights must not require grad: update them in place, under torch.no_grad()": dict(guard=False),
})  # fmt: skip
def train_step(answer: Any, g: torch.Generator) -> None:
    """answer(model, averaged, optimizer, loss, decay, max_norm) changes model, averaged and optimizer."""
    seed, max_norm = int(torch.randint(0, 1000, (), generator=g)), 0.5
    batches = torch.randn(4, 8, 3, generator=g)

    def run(step: Answer) -> list[list[Tensor]]:
        """The weights and the averaged weights after each of some steps."""
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
        averaged = copy.deepcopy(model).requires_grad_(False)
        with torch.no_grad():
            for mean in averaged.parameters():
                mean.add_(0.5)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.5)
        states = []
        for k, x in enumerate(batches):  # the last two gradients are short
            loss = (5, 5, 0.05, 0.02)[k] * F.mse_loss(model(x), x.sum(1, keepdim=True))
            step(model, averaged, optimizer, loss, 0.9 - 0.2 * (k % 2), max_norm)
            free = not any(mean.requires_grad for mean in averaged.parameters())
            require(free, "averaged weights that do not require grad", "a graph", what="averaged")
            states.append([torch.cat([p.detach().flatten() for p in m.parameters()]) for m in (model, averaged)])
        return states

    def asked(*given: Any) -> None:
        def done(*given: Any) -> bool:
            answer(*given)  # it need not return anything
            return True

        call(done if callable(answer) else answer, *given, changes=(0, 1, 2, 3))

    for k, (mine, right) in enumerate(zip(run(asked), run(_stepped), strict=True), 1):
        for name, got, expected in zip(("the weights", "the averaged weights"), mine, right, strict=True):
            compare(f"{name} after step {k}", got, expected, 1e-4, 1e-6)
