"""Checks of the exercises in notebook 07, validation."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labutils.checks.core import Answer, agree, call, compare, exercise, require, same


def _rolled(
    step: Answer, frames: Tensor, labels: Tensor, z: Tensor,
    fed: str = "own", P_at: int = 0, z_at: int = -1, each: Answer = lambda x: x.clamp(0, 1), given: int = 0,
    stop: int | None = None, end: Answer = lambda frames: torch.stack(frames, dim=1),
) -> Tensor:  # fmt: skip
    """What is fed, which pose and latent belong to step t, what is kept."""
    video = [frames[:, 0]]
    for t in range(1, labels.shape[1]):
        last = {"own": video[-1], "first": frames[:, 0], "true": frames[:, t - 1], "current": frames[:, t]}[fed]
        video.append(each(step(last, labels[:, t + P_at], z[:, (t + z_at) % z.shape[1]])))
    return end(video[given:stop])


@exercise("7.1", "the rollout from the prior", _rolled, {
    "the previous TRUE frame is fed: a leak, there is none in a test": dict(fed="true"),
    "the true CURRENT frame is fed: a leak, it is the one to be predicted": dict(fed="current"),
    "x_1 is fed at every step; feed the frame that was predicted last": dict(fed="first"),
    "frame t needs the pose of frame t, labels[:, t]; this is labels[:, t - 1]": dict(P_at=-1),
    "predictions leave [0, 1]: clamp each one before it is kept and fed back": dict(each=lambda x: x),
    "each prediction must be clamped before it is fed back, not only at the end":
        dict(each=lambda x: x, end=lambda frames: torch.stack(frames, dim=1).clamp(0, 1)),
    "z[:, t - 1] belongs to labels[:, t]; this is z[:, t]": dict(z_at=0),
    "the given frame x_1 is missing: it comes first in the video": dict(given=1),
    "the last frame is missing: labels[:, 1] .. labels[:, T - 1] give T - 1 predictions": dict(stop=-1),
    "stack the frames along dimension 1, (B, T, 3, H, W)": dict(end=torch.stack),
    "it looks at frames that must be predicted; only frames[:, 0] may be used":
        lambda step, frames, labels, z: _rolled(step, frames, labels, z) + 0 * frames.mean(),
})  # fmt: skip
def rollout(answer: Any, g: torch.Generator) -> None:
    """answer(step, frames, labels, z) -> (B, T, 3, H, W); frames, labels (B, T, 3, H, W), z (B, T-1, N, h, w)."""
    B, T, H, W, N = 2, 6, 4, 6, 3
    frames, labels = torch.rand(2, B, T, 3, H, W, generator=g)
    z = torch.randn(B, T - 1, N, 1, 1, generator=g)

    def step(last: Tensor, P: Tensor, z_t: Tensor) -> Tensor:
        return 0.7 * last + 0.6 * P.flip(-1) - 0.3 + 0.1 * z_t.sum(1, keepdim=True)  # leaves [0, 1] at places

    got = agree("the video", answer, _rolled, step, frames, labels, z)
    hidden = frames.clone()
    hidden[:, 1:] = float("nan")
    alike = same(call(answer, step, hidden, labels.clone(), z.clone()), got)
    require(alike, "the same video where the true frames x_2 .. x_T are unknown", "another one")


def _mse(p: Tensor, x: Tensor) -> Tensor:
    return (p.clamp(0, 1) - x).square().mean(dim=(1, 2, 3))[1:]  # (T-1,)


def _mean_psnr(p: Tensor, x: Tensor) -> Tensor:
    return -10 * _mse(p, x).log10().mean()


@exercise("7.2", "the mean PSNR of a video", _mean_psnr, {
    "frame 1 is given: its MSE is 0 and its PSNR infinite; leave it out": lambda p, x: torch.tensor(torch.inf),
    "the dB of the mean MSE; take the dB of each frame, then the mean": lambda p, x: -10 * _mse(p, x).mean().log10(),
    "the prediction is not clipped to [0, 1] first":
        lambda p, x: -10 * (p - x)[1:].square().mean(dim=(1, 2, 3)).log10().mean(),
    "the error is squared, not absolute":
        lambda p, x: -10 * (p.clamp(0, 1) - x)[1:].abs().mean(dim=(1, 2, 3)).log10().mean(),
    "not clipped, and the dB of the mean MSE": lambda p, x: -10 * (p - x)[1:].square().mean().log10(),
    "the data range is 1 here; this is the PSNR for a range of 255":
        lambda p, x: 10 * (255**2 / _mse(p, x)).log10().mean(),
    "frame 1 is given and must not count; its error of 0 is in the mean MSE":
        lambda p, x: -10 * (p.clamp(0, 1) - x).square().mean().log10(),
    "the sum is divided by T; only T - 1 frames were predicted": lambda p, x: -10 * _mse(p, x).log10().sum() / len(p),
    "log10, not the natural logarithm": lambda p, x: -10 * _mse(p, x).log().mean(),
    "PSNR is 10 log10 of the MSE, or 20 log10 of its root: this is half": lambda p, x: _mean_psnr(p, x) / 2,
    "PSNR is 10 log10 of the MSE; 20 belongs to its root": lambda p, x: 2 * _mean_psnr(p, x),
    "one frame is missing: frames 2..T count": lambda p, x: _mean_psnr(p[:-1], x[:-1]),
    "frame 2 is missing: frames 2..T count": lambda p, x: _mean_psnr(p[1:], x[1:]),
})  # fmt: skip
def mean_psnr(answer: Any, g: torch.Generator) -> None:
    """answer(prediction, truth) -> dB, a number; both (T, 3, H, W), the given frame first."""
    T, H, W = 7, 4, 6
    truth = torch.rand(T, 3, H, W, generator=g)
    spread = torch.linspace(0.05, 0.6, T)[torch.randperm(T, generator=g)][:, None, None, None]
    prediction = truth + spread * torch.randn(truth.shape, generator=g)
    prediction[0] = truth[0]  # the frame that is given
    agree("the mean PSNR in dB", answer, _mean_psnr, prediction, truth)


def _bytes(x: Tensor, scale: int = 255) -> Tensor:
    return (scale * x.clamp(0, 1)).round().clamp(0, 255).byte()


@exercise("7.3", "float to uint8 without wrapping", _bytes, {
    "values outside [0, 1] wrap around (256 becomes 0, -1 becomes 255): clip first":
        lambda x: (255 * x).round().long() % 256,
    "clip before the conversion: values outside [0, 1] wrap": lambda x: (255 * x).long() % 256,
    "the fraction is cut off: a shift of half a gray level; round to nearest": lambda x: 255 * x.clamp(0, 1) // 1,
    "times 255, not 256": dict(scale=256),
    "times 255 and rounded, not times 256 and cut off": lambda x: (256 * x.clamp(0, 1) // 1).clamp(0, 255),
    "the values are still in [0, 1]: times 255": lambda x: x.clamp(0, 1),
    "0 or 1 only: multiply before you round": lambda x: x.clamp(0, 1).round(),
    "not rounded and not yet uint8": lambda x: 255 * x.clamp(0, 1),
    "convert at the end: .byte()": lambda x: _bytes(x).float(),
})  # fmt: skip
def to_bytes(answer: Any, g: torch.Generator) -> None:
    """answer(x float, any shape) -> uint8 of the same shape."""
    x = torch.rand(2, 3, 4, 6, generator=g) * 1.6 - 0.3
    x[0, 0, 0] = torch.tensor([0.0, 1.0, 1.004, -0.004, 254.6 / 255, 0.9999])  # ends of the range, and just outside
    agree("the values", answer, _bytes, x, atol=1e-3)


def _frame(psnr: np.ndarray, lowest: Answer = np.argmin, first: int = 1, shift: int = 0) -> tuple[int, float]:
    k = int(lowest(psnr))
    return k + first, float(psnr[k + shift])


@exercise("7.4", "the worst frame", _frame, {
    "the curve starts at frame 2: entry k belongs to frame k + 1 of the video, x_1 being frame 0": dict(first=0),
    "counted from 1; here x_1 is frame 0": dict(first=2),
    "that is the best frame: a low PSNR is a bad one": dict(lowest=np.argmax),
    "that is the best frame, and the curve starts at frame 2": dict(lowest=np.argmax, first=0),
    "the index is right; its PSNR is entry index - 1 of the curve": dict(shift=1),
    "return the index first, then the PSNR": lambda psnr: _frame(psnr)[::-1],
})  # fmt: skip
def worst_frame(answer: Any, g: torch.Generator) -> None:
    """answer(psnr (T-1,) of frames 2..T) -> (index in the video, x_1 being 0; PSNR in dB)."""
    T = 40
    psnr = (20 + 15 * torch.rand(T - 1, generator=g, dtype=torch.float64)).numpy()
    low = int(torch.randint(3, T - 4, (), generator=g))
    psnr[low], psnr[(low + 11) % (T - 4)] = 11.5, 44.5
    agree("of the worst frame", answer, _frame, psnr, parts=("index", "PSNR"))


def _predicted(
    model: Any, frames: Tensor, labels: Tensor, z: Tensor, train: bool = False, graph: bool = False, back: str = "was",
    first: int = 1, mean: Answer = lambda mse: (-10 * mse.log10()).mean(), put: int = 1, batch: bool = False,
    made: Answer = _rolled,
) -> Any:  # fmt: skip
    """A rollout in evaluation mode and its score; with room for mistakes."""
    was = model.training
    model.train(train)
    with torch.set_grad_enabled(graph):
        video = made(model.step, frames[None], labels[None], z[None])[0]  # (T, 3, H, W)
        error = video[first:] - frames[first:]
        value = mean(error.square().mean(dim=(1, 2, 3)))
    model.train({"was": was, "train": True, "eval": False}[back])
    return (video[None] if batch else video, value)[::put]


class _Moody(nn.Module):
    """Predicts otherwise in training mode, as dropout or batch normalization do."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def step(self, last: Tensor, P: Tensor, z: Tensor) -> Tensor:
        mood = 0.5 if self.training else 0.7
        return mood * last + self.weight * P.flip(-1) - 0.3 + 0.1 * z.sum(1, keepdim=True)  # leaves [0, 1] at places


def _true_fed(step: Answer, frames: Tensor, labels: Tensor, z: Tensor) -> Tensor:
    return _rolled(step, frames, labels, z, fed="true")


@exercise("7.5", "predict a video and score it", _predicted, {
    "switch to evaluation mode first: dropout and batch normalization behave otherwise in training": dict(train=True),
    "the model was in training mode and has to be again afterwards": dict(back="eval"),
    "the model was in evaluation mode and has to be again afterwards": dict(back="train"),
    "no gradients are needed: with torch.no_grad() the graph of 629 steps is not kept": dict(graph=True),
    "frame 1 is given: leave it out of the mean": dict(first=0, mean=lambda mse: (-10 * (mse + 1e-10).log10()).mean()),
    "this is the PSNR of the mean error; take the dB of each frame first":
        dict(mean=lambda mse: -10 * mse.mean().log10()),
    "still one value for each frame; take their mean": dict(mean=lambda mse: -10 * mse.log10()),
    "the order is prediction, PSNR": dict(put=-1),
    "one video: (T, 3, H, W), without the axis of the batch": dict(batch=True),
    "the previous TRUE frame is fed: a leak": dict(made=_true_fed),
})  # fmt: skip
def predict_video(answer: Any, g: torch.Generator) -> None:
    """answer(model, frames, labels, z) -> prediction (T, 3, H, W), mean PSNR in dB; z (T-1, N, h, w)."""
    T, H, W, N = 6, 4, 6, 3
    frames, labels = torch.rand(2, T, 3, H, W, generator=g)
    z, model = torch.randn(T - 1, N, 1, 1, generator=g), _Moody(torch.rand((), generator=g) / 4 + 0.5)
    for training in (True, False):
        model.train(training)
        with torch.no_grad():
            right, score = _predicted(model, frames, labels, z)
        made = call(answer, model, frames.clone(), labels.clone(), z.clone())
        require(
            isinstance(made, (tuple, list)) and len(made) == 2, "two values", type(made).__name__, what="the result"
        )
        compare("the prediction", made[0], right)
        compare("the mean PSNR in dB", made[1], score, 1e-4, 1e-4)
        free = not (isinstance(made[0], Tensor) and made[0].requires_grad)
        require(
            free, "a prediction without a graph", "one that requires grad", "with torch.no_grad():", "the prediction"
        )
        mode = "training" if training else "evaluation"
        require(model.training == training, f"the model in {mode} mode, as before", "the other mode", what="afterwards")
