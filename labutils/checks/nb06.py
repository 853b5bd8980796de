"""Checks of the exercises in notebook 06, training."""

import copy
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labutils.checks.core import call, compare, exercise, fail, require, same


@exercise("6.1", "the last frame by teacher forcing")
def last_frame(answer: Any, g: torch.Generator) -> None:
    """answer(teacher (B,) bool, true (B, 3, H, W), generated (B, 3, H, W)) -> (B, 3, H, W)."""
    B, H, W = 5, 4, 5  # W = B: a mask that is not reshaped broadcasts over the width without a word
    teacher = torch.tensor([True, False, False, True, False])[torch.randperm(B, generator=g)]
    true, generated = torch.rand(2, B, 3, H, W, generator=g)
    generated = generated.requires_grad_()
    got = call(answer, teacher.clone(), true.clone(), generated)
    mask, fed = teacher[:, None, None, None], generated.detach()
    compare(
        "the frames that are fed", got, torch.stack([(true if teacher[b] else fed)[b] for b in range(B)]),
        {
            "True means the TRUE frame is fed; the two are swapped": torch.where(mask, fed, true),
            "the mask (B,) broadcasts over the width; reshape it to (B, 1, 1, 1)": torch.where(teacher, true, fed),
            "the true frame for every clip; each clip has a coin of its own": true,
            "the generated frame for every clip; each clip has a coin of its own": fed,
        },
    )  # fmt: skip
    require(
        isinstance(got, Tensor) and not got.requires_grad, "a result without gradient", "one that requires grad",
        "the generated frame must be detached, or the gradient runs through all steps before it",
    )  # fmt: skip


@exercise("6.2", "the loss")
def training_loss(answer: Any, g: torch.Generator) -> None:
    """answer(prediction, x, kl, beta, weight, l1) -> the loss, a number; images (B, T, 3, H, W), kl (B, T)."""
    B, T, H, W = 2, 3, 4, 6
    x = torch.rand(B, T, 3, H, W, generator=g)
    prediction = x + 0.3 * torch.randn(x.shape, generator=g)
    kl = 20 * torch.rand(B, T, generator=g)
    for l1 in (0.0, 0.1):
        beta, weight = 0.4, 0.01 * (1 + torch.rand((), generator=g).item())
        leaf = prediction.clone().requires_grad_()
        got = call(answer, leaf, x.clone(), kl.clone(), beta, weight, l1)
        mse, mae = F.mse_loss(prediction, x), F.l1_loss(prediction, x)
        total = F.mse_loss(prediction, x, reduction="sum")
        rest, scaled = l1 * mae, beta * weight * kl.mean()
        compare(
            f"the loss with l1 = {l1:g}", got, mse + rest + scaled,
            {
                "the squared error is summed; average it over everything": total + rest + scaled,
                "the squared error is summed over a clip; average it over everything": total / B + rest + scaled,
                "the KL divergence is summed over the batch; average it": mse + rest + beta * weight * kl.sum(),
                "the KL divergence is summed over the clip; average it": mse + rest + beta * weight * kl.sum() / B,
                "beta is missing": mse + rest + weight * kl.mean(),
                "the KL weight is missing beside beta": mse + rest + beta * kl.mean(),
                "the KL term is missing": mse + rest,
                "the KL divergence is added to the loss, not subtracted": mse + rest - scaled,
                "root of the mean squared error: the root is too much": mse.sqrt() + rest + scaled,
                "the mean absolute error (l1) is missing": mse + scaled,
                "the mean absolute error has the weight l1, not 1": mse + mae + scaled,
                "the absolute error stands in place of the squared one": mae + rest + scaled,
            },
            rtol=1e-4, atol=1e-7,
        )  # fmt: skip
        require(
            isinstance(got, Tensor) and got.requires_grad, "a loss that can be differentiated", "a plain number",
            "no .item() and no detach() on the way: backward() starts here",
        )  # fmt: skip


@exercise("6.3", "the training rollout")
def training_rollout(answer: Any, g: torch.Generator) -> None:
    """answer(posterior, step, frames, labels, teacher) -> (B, T-1, 3, H, W); frames, labels (B, T, 3, H, W)."""
    B, T, H, W, N = 3, 5, 4, 6, 2
    frames, labels = torch.rand(2, B, T, 3, H, W, generator=g)
    teacher = torch.rand(B, T - 1, generator=g) < 0.5
    teacher[:2, 0] = torch.tensor([True, False])  # x_1 is fed whatever the coin says
    teacher[0, 1:3], teacher[1, 1:3] = torch.tensor([True, False]), torch.tensor([False, True])
    mix = torch.rand(N, generator=g) + 0.5
    gain = torch.tensor(0.4, requires_grad=True)  # stands for the weights of the decoder

    def posterior(x: Tensor, P: Tensor) -> Tensor:
        told = (x * torch.linspace(0.5, 1.5, W) + 0.3 * P).mean(dim=(1, 2, 3))  # (B,)
        return (told[:, None] * mix)[..., None, None]  # (B, N, 1, 1)

    def step(last: Tensor, P: Tensor, z: Tensor) -> Tensor:
        return torch.tanh(gain * last + 0.3 * P.flip(-1) + 0.2 * z.sum(1, keepdim=True))  # (B, 3, H, W)

    def slow(
        x_at: int = 0, P_at: int = 0, posterior_P_at: int = 0, coin: int = 0, always: bool = True, ahead: int = 0,
        only: bool | None = None,
    ) -> Tensor:  # fmt: skip
        """The same, clip after clip, with room for mistakes."""
        clips = []
        for b in range(B):
            clip, label, made = frames[b], labels[b], []
            for t in range(1, T):
                z = posterior(clip[None, t + x_at], label[None, t + posterior_P_at])
                true = teacher[b, (t - 1 + coin) % (T - 1)] if only is None else only
                if (t == 1 and always) or bool(true) or (t == 1 and not made):
                    last = clip[None, t - 1 + ahead]
                else:
                    last = made[-1]
                made.append(step(last, label[None, t + P_at], z))
            clips.append(torch.cat(made))
        return torch.stack(clips).detach()  # (B, T-1, 3, H, W)

    def zero_first() -> Tensor:
        """The first prediction is fed with nothing (zeros) where its coin is False."""
        made: list[Tensor] = []
        for t in range(1, T):
            own = made[-1] if made else torch.zeros_like(frames[:, 0])
            last = torch.where(teacher[:, t - 1, None, None, None], frames[:, t - 1], own)
            made.append(step(last, labels[:, t], posterior(frames[:, t], labels[:, t])))
        return torch.stack(made, dim=1)

    got = call(answer, posterior, step, frames.clone(), labels.clone(), teacher.clone())
    compare(
        "the predictions of x_2 .. x_T", got, slow(),
        {
            "the decoder is fed the frame it has to predict, frames[:, t]; the last one is frames[:, t - 1]": slow(
                ahead=1
            ),
            "frames[:, t] is fed throughout, and it is what has to be predicted; look at `teacher`": slow(
                ahead=1, only=True
            ),
            "the posterior sees the last frame; it must see the current one, frames[:, t]": slow(x_at=-1),
            "the posterior sees the last pose; it must see the current one, labels[:, t]": slow(posterior_P_at=-1),
            "the decoder sees the last pose; it must see the current one, labels[:, t]": slow(P_at=-1),
            "posterior and decoder see the last pose; both need labels[:, t]": slow(P_at=-1, posterior_P_at=-1),
            "the coin of frames[:, t] is teacher[:, t - 1], not teacher[:, t]": slow(coin=1),
            "the true frame is fed throughout; look at `teacher`": slow(only=True),
            "the generated frame is fed throughout; look at `teacher`": slow(only=False),
            "x_1 is given: the first prediction is fed with it whatever its coin says": zero_first(),
            "the given frame x_1 is no prediction: return x_2 .. x_T only": torch.cat([frames[:, :1], slow()], dim=1),
            "stack the predictions along dimension 1, (B, T-1, 3, H, W)": slow().transpose(0, 1),
        },
    )  # fmt: skip
    slope = torch.autograd.grad(got[1, 1].sum(), gain)[0]  # clip 1 feeds its own prediction there
    with torch.no_grad():
        last = got[1:2, 0]
        y = got[1:2, 1]
    expected = ((1 - y.square()) * last).sum()  # d/dgain of tanh(gain * last + ...), last held fixed
    require(
        same(slope, expected, 1e-3, 1e-4), f"a gradient of one step only, {expected.item():.5g}", slope,
        "detach the generated frame that is fed back, or the gradient runs through all steps before it",
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------ the resume


class _Run(SimpleNamespace):
    """A training of a tiny network: model, averaged, optimizer, step, best_psnr."""

    @classmethod
    def start(cls, seed: int) -> "_Run":
        torch.manual_seed(seed)
        model = nn.Linear(3, 2)
        averaged = copy.deepcopy(model).requires_grad_(False)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        return cls(model=model, averaged=averaged, optimizer=optimizer, step=0, best_psnr=float("-inf"))

    def train(self, steps: int, total: int = 40) -> list[float]:
        """``steps`` more steps of a training of ``total``, whose rate falls linearly; returns the losses."""
        losses = []
        for _ in range(steps):
            g = torch.Generator().manual_seed(self.step)  # batches are drawn by the step, as in labutils.training
            x = torch.randn(8, 3, generator=g)
            y = torch.stack([x[:, 0] - x[:, 1], 2 * x[:, 2]], dim=1)
            for group in self.optimizer.param_groups:
                group["lr"] = 0.1 * (1 - self.step / total)
            loss = F.mse_loss(self.model(x), y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            with torch.no_grad():
                for mean, value in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
                    mean.lerp_(value, 0.1)
            self.step += 1
            losses.append(loss.item())
        self.best_psnr = max(self.best_psnr, -losses[-1]) if losses else self.best_psnr
        return losses

    def checkpoint(self) -> dict[str, Any]:
        state = {
            "state_dict": self.averaged.state_dict(), "weights": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(), "step": self.step, "best_psnr": 31.5,
        }  # fmt: skip
        return copy.deepcopy(state)


@exercise("6.4", "what a resume must restore")
def resume(answer: Any, g: torch.Generator) -> None:
    """answer(run, checkpoint) puts ``run`` (model, averaged, optimizer, step, best_psnr) where the checkpoint was."""
    seed = int(torch.randint(0, 1000, (), generator=g))
    run = _Run.start(seed)
    run.train(12)
    checkpoint = run.checkpoint()
    expected = run.train(6)

    fresh = _Run.start(seed + 1)
    try:
        done = answer(fresh, copy.deepcopy(checkpoint))
    except NotImplementedError:
        call(answer, fresh, checkpoint)  # to do
    except Exception as error:
        fail("a run that goes on", f"{type(error).__name__}: {error}", "run and checkpoint hold what the table lists")
    if isinstance(done, _Run):
        fresh = done
    step, best = fresh.step, fresh.best_psnr

    def close(module: nn.Module, weights: dict[str, Tensor]) -> bool:
        return all(same(value, weights[name]) for name, value in module.state_dict().items())

    trained, averaged = checkpoint["weights"], checkpoint["state_dict"]
    if close(fresh.model, averaged):
        fail("the weights as they were trained", "the averaged weights",
             'the model goes on from checkpoint["weights"]; "state_dict" is their average', "run.model")  # fmt: skip
    require(close(fresh.model, trained), 'checkpoint["weights"]', "other weights",
            "the model's weights are not restored", "run.model")  # fmt: skip
    if close(fresh.averaged, trained):
        fail("the averaged weights", "the weights as they were trained",
             'the average goes on from checkpoint["state_dict"]', "run.averaged")  # fmt: skip
    require(close(fresh.averaged, averaged), 'checkpoint["state_dict"]', "other weights",
            "the average is what is validated and saved; it goes on too", "run.averaged")  # fmt: skip
    require(fresh.optimizer.state_dict()["state"], "the optimizer's moments", "an optimizer without state",
            "without its moments the first steps after the resume are of the wrong size", "run.optimizer")  # fmt: skip
    compare("run.step", step, checkpoint["step"], {
        "without the step, learning rate and schedules start anew": 0,
        "the checkpoint's step is the number of steps done, and so the next one's number: add nothing": (
            checkpoint["step"] + 1
        ),
        "the checkpoint's step is the number of steps done, and so the next one's number: subtract nothing": (
            checkpoint["step"] - 1
        ),
    })  # fmt: skip
    compare("run.best_psnr", best, checkpoint["best_psnr"], {
        "without the best PSNR so far, the next validation overwrites best.ckpt, however bad it is": float("-inf")
    })  # fmt: skip
    compare("the losses of the next 6 steps", fresh.train(6), expected)
