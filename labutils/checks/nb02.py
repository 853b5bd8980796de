"""Checks of notebook 02: convolutions counted, the wiring of one prediction, and the five modules themselves."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labutils.checks.core import Answer, agree, agree_module, call, compare, exercise, fail, require
from labutils.config import LabConfig
from labutils.model import ConditionalVAE
from labutils.modules import fast, reparameterize

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


# ------------------------------------------------------------------------------------------------ the five modules


def _weights(module: nn.Module, g: torch.Generator) -> dict[str, Tensor]:
    """Random weights, large enough for every input to show."""
    found = {}
    for name, p in module.named_parameters():
        scale = 1.5 / math.sqrt(p[0].numel()) if p.dim() == 4 else 0.3
        found[name] = (torch.randn(p.shape, generator=g) * scale).requires_grad_()
    return found


def _features(g: torch.Generator, *channels: int, size: tuple[int, int] = (8, 12)) -> list[Tensor]:
    """Features (B, c, h, w) through which gradients are to pass."""
    return [torch.randn(2, c, *size, generator=g).requires_grad_() for c in channels]


class _Encoder(nn.Module):
    def __init__(
        self, c: int, pose: bool = False, invert: bool | None = None, fold: Answer = lambda x: F.pixel_unshuffle(x, 2),
        end: Answer = lambda x: x, **options: Any,
    ):  # fmt: skip
        super().__init__()
        self.conv = nn.Conv2d(12, c, 3, **({"padding": 1} | options))
        self.invert, self.fold, self.end = pose if invert is None else invert, fold, end

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.conv(self.fold(1 - x if self.invert else x)))


@exercise("2.5", "the encoders", _Encoder, {
    "with pose=True the label is inverted: 1 - P is 0 on white paper": dict(invert=False),
    "only a pose is inverted; a frame goes in as it is": dict(invert=True),
    "padding=1 keeps the size": dict(padding=0),
    "pixel_unshuffle halves the size already; the convolution has stride 1": dict(stride=2),
    "there is no activation at the end: the modules that read the feature begin with one": dict(end=F.relu),
    "pixel_unshuffle(x, 2) keeps all pixels as channels; this repeats averages":
        dict(fold=lambda x: F.avg_pool2d(x, 2).repeat(1, 4, 1, 1)),
    "the border is padded with zeros, nn.Conv2d's default": dict(padding_mode="replicate"),
})  # fmt: skip
def Encoder(answer: Any, g: torch.Generator) -> None:
    """Encoder(c, pose=False): image (B, 3, H, W) -> feature (B, c, H/2, W/2)."""
    for arguments in ((5,), (4, True)):
        image = torch.rand(2, 3, 8, 12, generator=g).requires_grad_()
        what = f"the feature, pose={len(arguments) > 1},"
        agree_module(what, answer, _Encoder, arguments, image, weights=_weights(_Encoder(*arguments), g))


class _Posterior(fast.Gaussian_Predictor):
    def __init__(
        self, c: int, N: int, order: int = 1, split: Answer = lambda x: x.chunk(2, dim=1), between: Answer | None = None
    ):
        super().__init__(c, N)
        self.order, self.split, self.between = order, split, between

    def forward(self, frame: Tensor, label: Tensor) -> Any:  # type: ignore[override]
        x = torch.cat([frame, label][:: self.order], dim=1)
        for k, layer in enumerate(self.net):
            if not (self.between and isinstance(layer, nn.ReLU) and (k == 0) == (self.between == "start")):
                x = layer(x)
        return self.split(x)


@exercise("2.6", "the posterior predictor", _Posterior, {
    "frame first, then pose: torch.cat([frame, label], dim=1)": dict(order=-1),
    "mu is the first half of the channels, logvar the second": dict(split=lambda x: x.chunk(2, dim=1)[::-1]),
    "split the 2 N channels into halves, not by even and odd": dict(split=lambda x: (x[:, ::2], x[:, 1::2])),
    "logvar = log sigma^2 may be negative: no ReLU on it":
        dict(split=lambda x: (x.chunk(2, dim=1)[0], F.relu(x.chunk(2, dim=1)[1]))),
    "mu may be negative: no ReLU on it": dict(split=lambda x: (F.relu(x.chunk(2, dim=1)[0]), x.chunk(2, dim=1)[1])),
    "it gives log sigma^2, not sigma^2": dict(split=lambda x: (x.chunk(2, dim=1)[0], x.chunk(2, dim=1)[1].exp())),
    "the two are not the same: mu is the first half, logvar the second":
        dict(split=lambda x: [x.chunk(2, dim=1)[0]] * 2),
    "ReLU comes first: the encoders end without an activation": dict(between="start"),
    "ReLU stands between the convolutions": dict(between="middle"),
    "the gradient does not reach the layers": dict(split=lambda x: x.detach().chunk(2, dim=1)),
})  # fmt: skip
def PosteriorPredictor(answer: Any, g: torch.Generator) -> None:
    """PosteriorPredictor(c, N): features of frame and pose, (B, c, h, w) -> mu, logvar, each (B, N, 1, 1)."""
    c, N = 3, 5
    weights = _weights(_Posterior(c, N), g)
    agree_module("", answer, _Posterior, (c, N), *_features(g, c, c), weights=weights, parts=("mu", "logvar"))


class _Fusion(fast.Decoder_Fusion):
    def __init__(
        self, c: int, N: int, order: int = 1, before: Answer = F.relu, after: Answer = lambda x: x,
        told: Answer = lambda told, x: told,
    ):  # fmt: skip
        super().__init__(c, N)
        self.order, self.before, self.after, self.told = order, before, after, told

    def forward(self, frame: Tensor, label: Tensor, z: Tensor) -> Tensor:
        fused = self.conv(self.before(torch.cat([frame, label][:: self.order], dim=1)))
        return self.after(fused + self.told(self.latent(z), fused))


@exercise("2.7", "the decoder fusion", _Fusion, {
    "frame first, then pose: torch.cat([frame, label], dim=1)": dict(order=-1),
    "ReLU on the two features, before the convolution": dict(before=lambda x: x),
    "no ReLU at the end: the generator's blocks begin with one": dict(after=F.relu),
    "z is missing: add latent(z)": dict(told=lambda told, x: 0 * told),
    "z is not passed on to be learned from: no detach": dict(told=lambda told, x: told.detach()),
    "z is added, not multiplied": dict(told=lambda told, x: x * told - x),
    "no ReLU on what z tells: it may take away": dict(told=lambda told, x: F.relu(told)),
})  # fmt: skip
def DecoderFusion(answer: Any, g: torch.Generator) -> None:
    """DecoderFusion(c, N): features of previous frame and pose (B, c, h, w), z (B, N, 1, 1) -> (B, c, h, w)."""
    c, N = 4, 5
    z = torch.randn(2, N, 1, 1, generator=g).requires_grad_()
    inputs = (*_features(g, c, c), z)
    agree_module("the fused feature", answer, _Fusion, (c, N), *inputs, weights=_weights(_Fusion(c, N), g))


class _Generator(fast.Generator):
    """The U-Net, with room for mistakes in each of its steps."""

    def __init__(
        self, c: int, height: int, width: int, kept: int = 0, relu: Answer = F.relu, joined: bool = True,
        back: int = -1, last: Answer = F.relu, bias: float = 2, room: Answer = torch.sigmoid,
        paint: Answer = torch.lerp, colours: Answer = torch.sigmoid, scale: str = "nearest",
    ):  # fmt: skip
        super().__init__(c, height, width)
        self.how = (kept, relu, joined, back, last, bias, room, paint, colours, scale)

    def forward(self, x: Tensor) -> Tensor:
        kept, relu, joined, back, last, bias, room, paint, colours, scale = self.how
        skips = []
        for block, shrink in zip(self.down, self.shrink, strict=True):
            skips.append((block(x), x)[kept])
            x = shrink(relu(block(x)))
        x = self.middle(x)
        for block, grow, skip in list(zip(self.up, self.grow, skips, strict=True))[::back]:
            x = block(F.interpolate(grow(x), scale_factor=2, mode=scale) + (skip if joined else 0))
        x = F.pixel_shuffle(self.out(last(x)), 2)
        return paint(room(self.background), colours(x[:, 1:]), torch.sigmoid(x[:, :1] - bias))


@exercise("2.8", "the generator", _Generator, {
    "the skip connection comes after the block, before the shrinking": dict(kept=1),
    "ReLU before each shrinking convolution": dict(relu=lambda x: x),
    "the skip connections are missing: what is lost on the way down does not come back": dict(joined=False),
    "ReLU before the last convolution": dict(last=lambda x: x),
    "the opacity is sigmoid(x - 2): at first little is painted": dict(bias=0),
    "the background's weights are logits: take their sigmoid": dict(room=lambda b: b),
    "opacity 1 shows the colour, opacity 0 the background": dict(paint=lambda room, c, a: torch.lerp(c, room, a)),
    "the colour is missing its sigmoid": dict(colours=lambda x: x),
    "the background is missing: lerp from it to the colour": dict(paint=lambda room, c, a: c * a),
    "figure and background are not added: the figure hides the background": dict(paint=lambda r, c, a: r + c * a),
    "what is grown is repeated (mode nearest, the default), not interpolated": dict(scale="bilinear"),
    "the background gets no gradient": dict(room=lambda b: torch.sigmoid(b).detach()),
})  # fmt: skip
def Generator(answer: Any, g: torch.Generator) -> None:
    """Generator(c, height, width): fused feature (B, c, height/2, width/2) -> frame (B, 3, height, width)."""
    c, H, W = 2, 16, 24
    feature = _features(g, c, size=(H // 2, W // 2))
    agree_module("the frame", answer, _Generator, (c, H, W), *feature, weights=_weights(_Generator(c, H, W), g))


NAMES = ("frame_transformation", "label_transformation", "Gaussian_Predictor", "Decoder_Fusion", "Generator")


class _CVAE(nn.Module):
    """The five modules, wired; with room for mistakes."""

    frame_transformation: nn.Module
    label_transformation: nn.Module
    Gaussian_Predictor: nn.Module
    Decoder_Fusion: nn.Module
    Generator: nn.Module

    def __init__(
        self, *modules: nn.Module, names: tuple[str, ...] = NAMES, swap: str = "", draw: Answer = reparameterize,
        put: tuple[int, ...] = (0, 1, 2), told: Answer = lambda z: z,
    ):  # fmt: skip
        super().__init__()
        for name, module in zip(names, modules, strict=True):
            setattr(self, name, module)
        self.swap, self.draw, self.put, self.told = swap, draw, put, told

    def read(self, x: Tensor, P: Tensor) -> tuple[Tensor, Tensor]:
        """Features of frame and pose."""
        frame, label = self.frame_transformation, self.label_transformation
        wrong = {"encoders": (label, frame, x, P), "pose": (frame, label, x, x), "frame": (frame, label, P, P)}
        first, second, x, P = wrong.get(self.swap, (frame, label, x, P))
        return first(x), second(P)

    def posterior(self, x: Tensor, P: Tensor, eps: Tensor | None = None) -> Any:
        features = self.read(x, P)
        mu, logvar = self.Gaussian_Predictor(*features[:: -1 if self.swap == "posterior" else 1])
        values = self.draw(mu, logvar, torch.randn_like(mu) if eps is None else eps), mu, logvar
        return tuple(values[k] for k in self.put)

    def step(self, previous: Tensor, P: Tensor, z: Tensor) -> Any:
        features = self.read(previous, P)
        return self.Generator(self.Decoder_Fusion(*features[:: -1 if self.swap == "decoder" else 1], self.told(z)))


@exercise("2.9", "the whole model", _CVAE, {
    "the encoders are swapped: frame_transformation reads frames, label_transformation the pose": dict(swap="encoders"),
    "label_transformation reads the pose P, not the frame": dict(swap="pose"),
    "frame_transformation reads the frame, not the pose": dict(swap="frame"),
    "Gaussian_Predictor takes the frame's feature first, then the pose's": dict(swap="posterior"),
    "Decoder_Fusion takes the frame's feature first, then the pose's": dict(swap="decoder"),
    "z is mu: add sigma * eps": dict(draw=lambda mu, logvar, eps: mu),
    "exp(logvar) is the variance; sigma is its square root": dict(draw=lambda mu, logvar, eps: mu + logvar.exp() * eps),
    "z is drawn anew in every call: use eps where it is given":
        dict(draw=lambda mu, logvar, eps: reparameterize(mu, logvar)),
    "no detach: gradients have to reach mu and logvar through z":
        dict(draw=lambda mu, logvar, eps: reparameterize(mu, logvar, eps).detach()),
    "the order is z, mu, logvar": dict(put=(1, 2, 0)),
    "z is missing: the decoder gets zeros": dict(told=lambda z: 0 * z),
    "no detach: the gradient has to reach z": dict(told=lambda z: z.detach()),
})  # fmt: skip
def CVAE(answer: Any, g: torch.Generator) -> None:
    """CVAE of five modules: posterior(x, P, eps) -> z, mu, logvar; step(previous, P, z) -> frame."""
    model, c, N = _small_model(g), 4, 3
    predictor = _Posterior(c, N)
    predictor.load_state_dict(model.Gaussian_Predictor.state_dict())
    modules = [predictor if name == "Gaussian_Predictor" else getattr(model, name) for name in NAMES]
    made = call(answer, *modules)
    require(isinstance(made, nn.Module), "an nn.Module", type(made).__name__, "class CVAE(nn.Module): …")
    for name, module in zip(NAMES, modules, strict=True):
        if getattr(made, name, None) is not module:
            known = ", ".join(n for n, _ in made.named_children()) or "none"
            fail(f"the module {name} under this name", f"modules called {known}", "checkpoints find weights by name")
    count = len(list(made.parameters()))
    require(count == len(list(model.parameters())), "no weights but those of the five modules", f"{count} weights")

    def posterior(make: Answer) -> Answer:
        return lambda *a: make(*a[:5]).posterior(*a[5:])

    def step(make: Answer) -> Answer:
        return lambda *a: make(*a[:5]).step(*a[5:])

    x, P = torch.rand(2, 2, 3, 16, 24, generator=g)  # (B, 3, H, W) each
    eps, z = torch.randn(2, 2, N, 1, 1, generator=g)
    parts = ("z", "mu", "logvar")
    agree("of the posterior", posterior(answer), posterior(_CVAE), *modules, x, P, eps, parts=parts, order=(1, 2, 0))
    agree("the prediction", step(answer), step(_CVAE), *modules, x, P, z.requires_grad_())
    drawn = [call(posterior(answer), *modules, x, P)[0] for _ in range(2)]
    hint = "draw eps yourself where it is None"
    require(not torch.equal(*drawn), "another z in each call without eps", "twice the same", hint, "z without eps")
    compare("shape of z without eps", list(drawn[0].shape), [2, N, 1, 1])
