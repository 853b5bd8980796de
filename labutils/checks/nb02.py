"""Checks of notebook 02: convolutions counted, and the wiring of one prediction."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from labutils.checks.core import Answer, agree, exercise
from labutils.config import LabConfig
from labutils.model import ConditionalVAE

Layers = Sequence[tuple[int, int]]


def _whole(low: int, high: int, g: torch.Generator) -> int:
    """A whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=g))


def _facts(
    k: int, i: int, o: int, s: int, p: int, H: int, W: int,
    side: Answer = lambda n, k, s, p: (n + 2 * p - k) // s + 1,
    parameters: Answer = lambda k, i, o, HW: k * k * i * o + o,
    shape: Answer = lambda i, o, h, w: (o, h, w),
) -> tuple[Any, int]:  # fmt: skip
    return shape(i, o, side(H, k, s, p), side(W, k, s, p)), parameters(k, i, o, H * W)


@exercise("2.1", "shape and parameters of a convolution", _facts, {
    "the output has c_out channels, not c_in": dict(shape=lambda i, o, h, w: (i, h, w)),
    "height and width are swapped": dict(shape=lambda i, o, h, w: (o, w, h)),
    "the number of places is one more than the steps between them: + 1 is missing":
        dict(side=lambda n, k, s, p: (n + 2 * p - k) // s),
    "padding is on both sides: it counts twice": dict(side=lambda n, k, s, p: (n + p - k) // s + 1),
    "the padding is missing": dict(side=lambda n, k, s, p: (n - k) // s + 1),
    "the stride is missing": dict(side=lambda n, k, s, p: n + 2 * p - k + 1),
    "a step that does not fit any more is not taken: round down":
        dict(side=lambda n, k, s, p: math.ceil((n + 2 * p - k) / s) + 1),
    "a step that does not fit any more is not taken: round down with //":
        dict(side=lambda n, k, s, p: (n + 2 * p - k) / s + 1),
    "the biases are missing: one for each output channel": dict(parameters=lambda k, i, o, HW: k * k * i * o),
    "the bias belongs to the output channels, c_out": dict(parameters=lambda k, i, o, HW: k * k * i * o + i),
    "there is one bias for each output channel, not one in all": dict(parameters=lambda k, i, o, HW: k * k * i * o + 1),
    "the kernel has k * k places": dict(parameters=lambda k, i, o, HW: k * i * o + o),
    "each output channel reads all input channels: times c_in": dict(parameters=lambda k, i, o, HW: k * k * o + o),
    "weights are shared by all places: the picture's size does not count":
        dict(parameters=lambda k, i, o, HW: k * k * i * o * HW + o),
})  # fmt: skip
def conv_facts(answer: Any, g: torch.Generator) -> None:
    """(k, c_in, c_out, stride, padding, H, W) -> (c_out, H_out, W_out), parameters."""
    cases = [(5, 4, 6, 2, 3, 21, 44), (3, 3, 16, 1, 1, 32, 64), (7, 3, 16, 1, 0, 38, 70), (1, 5, 2, 1, 0, 8, 16)]
    for _ in range(6):
        k, stride, H = 2 * _whole(0, 3, g) + 1, _whole(1, 3, g), _whole(9, 30, g)
        cases.append((k, _whole(1, 9, g), _whole(10, 20, g), stride, _whole(0, 3, g), H, H + _whole(3, 20, g)))
    for case in cases:
        given = "for k={}, c_in={}, c_out={}, stride={}, padding={}, H={}, W={}".format(*case)
        agree(given, answer, _facts, *case, parts=("(c_out, H_out, W_out)", "parameters"), rtol=1e-9, atol=0.1)


def _field(layers: Layers, jumps: str = "", start: int = 1, shrink: int = 1) -> int:
    """An answer to 2.2, with room for mistakes: which jumps are used, the first value, what is taken off a kernel."""
    r, j = start, 1
    for k, s in layers:
        if jumps == "own":
            j *= s
        r += (k - shrink) * j
        if jumps == "":
            j *= s
        elif jumps == "sum":
            j += s
    return r


@exercise("2.2", "receptive field of a stack", _field, {
    "the input pixel itself is missing: start with r = 1": dict(start=0),
    "strides of EARLIER layers count: later layers step over several input pixels": dict(jumps="none"),
    "a layer's own stride does not widen what it sees: use j before you change it": dict(jumps="own"),
    "a kernel adds k - 1 pixels, not k": dict(shrink=0),
    "a kernel adds k - 1 pixels, not k: kernels overlap": lambda layers: sum(k for k, _ in layers),
    "the first layer of the list is the first after the input: you walk backwards": lambda layers: _field(layers[::-1]),
    "kernels do not multiply; each adds (k - 1) jumps": lambda layers: math.prod(k for k, _ in layers),
    "jumps multiply, they do not add: j *= stride": dict(jumps="sum"),
})  # fmt: skip
def receptive_field(answer: Any, g: torch.Generator) -> None:
    """[(kernel, stride), ...] -> side in input pixels."""
    stacks = [[(3, 2), (5, 1), (7, 3), (3, 1)], [(3, 1)], [(3, 1)] * 10, [(7, 1), (3, 1), (3, 1)], [(3, 2), (5, 1)]]
    stacks += [[(2 * _whole(0, 3, g) + 1, _whole(1, 3, g)) for _ in range(_whole(2, 4, g))] for _ in range(6)]
    for layers in [*stacks, []]:
        agree(f"receptive field of {layers}", answer, _field, layers)


def _wired(
    model: ConditionalVAE, x_prev: Tensor, x_t: Tensor, P_t: Tensor, eps: Tensor, current: int = 1, last: int = 0,
    swap: str = "", used: Answer = lambda z, mu, eps: z, noise: Answer = lambda eps: eps, put: tuple[int, int] = (0, 0),
) -> list[Tensor]:  # fmt: skip
    """Prediction, mu, logvar.

    Args:
        current, last: which image is taken for them.
        swap: what gets its inputs in the wrong order, or from the wrong encoder.
        put: the first of (prediction, mu, logvar, z) is overwritten by the second.
    """
    images, encoders = (x_prev, x_t, P_t), [model.frame_transformation, model.label_transformation]
    frame, pose = encoders[swap == "encoders"], encoders[swap not in ("encoders", "pose")]
    order = {True: slice(None, None, -1), False: slice(None)}
    pair = [frame(images[current]), pose(P_t)][order[swap == "posterior"]]
    z, mu, logvar = model.Gaussian_Predictor(*pair, noise(eps))
    pair = [frame(images[last]), pose(P_t)][order[swap == "decoder"]]
    values = [model.Generator(model.Decoder_Fusion(*pair, used(z, mu, eps))), mu, logvar, z]
    values[put[0]] = values[put[1]]
    return values[:3]


WIRES = ("the prediction", "mu", "logvar", "z")


@exercise("2.3", "wire one prediction", _wired, {
    "the posterior was fed the previous frame; it must see the CURRENT frame x_t": dict(current=0),
    "the decoder was fed with x_t, the frame it has to predict (a leak); it must see the LAST frame x_prev":
        dict(last=1),
    "the two frames are swapped: x_t for the posterior, x_prev for the decoder": dict(current=0, last=1),
    "the encoders are swapped: frame_transformation reads frames, label_transformation the pose": dict(swap="encoders"),
    "the pose has to pass label_transformation, not frame_transformation": dict(swap="pose"),
    "Gaussian_Predictor takes the frame's feature first, then the pose's": dict(swap="posterior"),
    "Decoder_Fusion takes the frame's feature first, then the pose's": dict(swap="decoder"),
    "the posterior was fed with the pose in place of the current frame": dict(current=2),
    "the decoder was fed the pose in place of the previous frame": dict(last=2),
    "the decoder was fed with mu; it takes z": dict(used=lambda z, mu, eps: mu),
    "the decoder was fed with eps; it takes z, which Gaussian_Predictor makes of eps":
        dict(used=lambda z, mu, eps: eps),
    "the decoder was fed with zeros; it takes z": dict(used=lambda z, mu, eps: 0 * z),
    "z is drawn anew in every call: hand eps over to Gaussian_Predictor": dict(noise=lambda eps: None),
    **{
        f"the order is (prediction, mu, logvar); this is {WIRES[wrong]}, not {WIRES[place]}": dict(put=(place, wrong))
        for place in range(3) for wrong in range(4) if wrong != place
    },
})  # fmt: skip
def predict_next(answer: Any, g: torch.Generator) -> None:
    """(model, x_prev, x_t, P_t, eps) -> prediction, mu, logvar; on a small real model with random weights.

    As in training: gradients of all three reach the weights that they reach in the model itself.
    """
    model = _small_model(g)
    images = torch.rand(3, 2, 3, 16, 24, generator=g)  # x_prev, x_t, P_t: each (B, 3, H, W)
    eps = torch.randn(2, *model.latent_shape, generator=g)  # (B, N, h, w)
    agree("", answer, _wired, model, *images, eps, parts=("prediction", "mu", "logvar"))


def _small_model(g: torch.Generator) -> ConditionalVAE:
    """A fast model of few channels whose weights are large enough for every input to show."""
    model = ConditionalVAE(LabConfig(frame_H=16, frame_W=24, width=4, N_dim=3)).eval()
    with torch.no_grad():
        for p in model.parameters():
            fan_in = p[0].numel() if p.dim() == 4 else 1
            p.copy_(torch.randn(p.shape, generator=g) * (1.5 / math.sqrt(fan_in) if p.dim() == 4 else 0.3))
    return model


def _macs(k: int, channels: Sequence[int], places: float) -> Any:
    """Multiply-adds of a stack; its weights, for one place."""
    return sum(k * k * a * b * places for a, b in pairwise(channels))


def _costs(k: int, channels: Sequence[int], H: int, W: int) -> tuple[int, int]:
    return _macs(k, channels, H * W), _macs(k, [4 * channels[0], *channels[1:]], H * W // 4)


def _full(full: Answer) -> Answer:
    """An answer to 2.4 that is right at half resolution."""
    return lambda *stack: (full(*stack), _costs(*stack)[1])


def _half(half: Answer) -> Answer:
    """An answer to 2.4 that is right at full resolution."""
    return lambda *stack: (_costs(*stack)[0], half(*stack))


@exercise("2.4", "multiply-adds, and what half resolution saves", _costs, {
    "a multiply-add is one here: FLOPs are twice as many": _full(lambda k, c, H, W: 2 * _macs(k, c, H * W)),
    "the kernel has k * k places": _full(lambda k, c, H, W: _macs(k, c, H * W) / k),
    "these are the weights alone; each is used once for every place, H * W": _full(lambda k, c, H, W: _macs(k, c, 1)),
    "these are weights and biases; count multiply-adds: weights times places":
        _full(lambda k, c, H, W: _macs(k, c, 1) + sum(c[1:])),
    "the biases do not count": _full(lambda k, c, H, W: _macs(k, c, H * W) + sum(c[1:]) * H * W),
    "H * W places, not H * H": _full(lambda k, c, H, W: _macs(k, c, H * H)),
    "H * W places, not W * W": _full(lambda k, c, H, W: _macs(k, c, W * W)),
    "padding keeps the size: the output has H * W places":
        _full(lambda k, c, H, W: _macs(k, c, (H - k + 1) * (W - k + 1))),
    "only the first layer is counted": _full(lambda k, c, H, W: _macs(k, c[:2], H * W)),
    "only the last layer is counted": _full(lambda k, c, H, W: _macs(k, c[-2:], H * W)),
    "the first layer is missing": _full(lambda k, c, H, W: _macs(k, c[1:], H * W)),
    "the first layer reads 4 * channels[0] channels: pixel_unshuffle loses no pixel":
        _half(lambda k, c, H, W: _macs(k, c, H * W / 4)),
    "both sides are halved: a quarter of the places": _half(lambda k, c, H, W: 2 * _costs(k, c, H, W)[1]),
    "both sides are halved: a quarter of the places, and 4 times the first layer's inputs":
        _half(lambda k, c, H, W: _macs(k, c, H * W / 2)),
    "only the FIRST layer reads 4 times as many channels; the others keep theirs":
        _half(lambda k, c, H, W: _macs(k, c, H * W)),
    "this is the saving, not the multiply-adds at half resolution":
        _half(lambda k, c, H, W: _macs(k, c, H * W) / _costs(k, c, H, W)[1]),
    "these are the multiply-adds saved, not those that remain":
        _half(lambda k, c, H, W: _macs(k, c, H * W) - _costs(k, c, H, W)[1]),
})  # fmt: skip
def conv_cost(answer: Any, g: torch.Generator) -> None:
    """(k, channels, H, W) -> multiply-adds at full and at half resolution."""
    cases = [(3, [3, 16], 32, 48), (3, [3, 16, 16, 16], 32, 64), (5, [4, 6, 10], 10, 14)]
    for _ in range(4):
        channels = [_whole(2, 7, g) for _ in range(_whole(2, 4, g))]
        H = 2 * _whole(3, 8, g)
        cases.append((2 * _whole(1, 2, g) + 1, channels, H, H + 2 * _whole(1, 8, g)))
    for k, channels, H, W in cases:
        given = f"resolution: multiply-adds for k={k}, channels={channels}, H={H}, W={W}"
        agree(given, answer, _costs, k, channels, H, W, parts=("full", "half"), rtol=1e-9, atol=0.5)
