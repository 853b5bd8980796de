"""Checks of notebook 02: convolutions counted, and the wiring of one prediction."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from labutils.checks.core import call, compare, exercise, require
from labutils.config import LabConfig
from labutils.model import ConditionalVAE


def _whole(low: int, high: int, g: torch.Generator) -> int:
    """A whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=g))


def _tuple(got: Any, length: int, form: str) -> Sequence[Any]:
    """``got``, if it is a tuple or list of ``length`` things."""
    found = f"{len(got)} values" if isinstance(got, (tuple, list)) else f"one {type(got).__name__}"
    fits = isinstance(got, (tuple, list)) and len(got) == length
    require(fits, f"{length} values, {form}", found, f"end with `return {form}`")
    return got


@exercise("2.1", "shape and parameters of a convolution")
def conv_facts(answer: Any, g: torch.Generator) -> None:
    """(k, c_in, c_out, stride, padding, H, W) -> (c_out, H_out, W_out), parameters; against ``nn.Conv2d``."""
    form = "(c_out, H_out, W_out), parameters"
    cases = [(5, 4, 6, 2, 3, 21, 44), (3, 3, 16, 1, 1, 32, 64), (7, 3, 16, 1, 0, 38, 70), (1, 5, 2, 1, 0, 8, 16)]
    for _ in range(6):
        k, stride, H = 2 * _whole(0, 3, g) + 1, _whole(1, 3, g), _whole(9, 30, g)
        cases.append((k, _whole(1, 9, g), _whole(10, 20, g), stride, _whole(0, 3, g), H, H + _whole(3, 20, g)))
    for case in cases:
        k, c_in, c_out, s, p, H, W = case
        with torch.no_grad():
            layer = nn.Conv2d(c_in, c_out, k, s, p)
            expected = tuple(layer(torch.zeros(1, c_in, H, W)).shape[1:])
        shape, parameters = _tuple(call(answer, *case), 2, form)
        given = "for k={}, c_in={}, c_out={}, stride={}, padding={}, H={}, W={}".format(*case)

        def size(total: int, *, add: int = 1, up: bool = False) -> int:
            return (math.ceil(total / s) if up else total // s) + add  # noqa: B023

        compare(
            f"output shape {given}",
            shape,
            expected,
            {
                "the output has c_out channels, not c_in": (c_in, *expected[1:]),
                "height and width are swapped": (c_out, expected[2], expected[1]),
                "the number of places is one more than the steps between them: + 1 is missing": (
                    c_out, size(H + 2 * p - k, add=0), size(W + 2 * p - k, add=0),
                ),
                "padding is on both sides: it counts twice": (c_out, size(H + p - k), size(W + p - k)),
                "the padding is missing": (c_out, size(H - k), size(W - k)),
                "the stride is missing": (c_out, H + 2 * p - k + 1, W + 2 * p - k + 1),
                "a step that does not fit any more is not taken: round down": (
                    c_out, size(H + 2 * p - k, up=True), size(W + 2 * p - k, up=True),
                ),
                "a step that does not fit any more is not taken: round down with //": (
                    c_out, (H + 2 * p - k) / s + 1, (W + 2 * p - k) / s + 1,
                ),
            },
        )  # fmt: skip
        compare(
            f"parameters {given}",
            parameters,
            sum(q.numel() for q in layer.parameters()),
            {
                "the biases are missing: one for each output channel": k * k * c_in * c_out,
                "the bias belongs to the output channels, c_out": k * k * c_in * c_out + c_in,
                "there is one bias for each output channel, not one in all": k * k * c_in * c_out + 1,
                "the kernel has k * k places": k * c_in * c_out + c_out,
                "each output channel reads all input channels: times c_in": k * k * c_out + c_out,
                "weights are shared by all places: the picture's size does not count": k * k * c_in * c_out * H * W
                + c_out,
            },
            rtol=1e-9,
            atol=0.5,
        )


@exercise("2.2", "receptive field of a stack")
def receptive_field(answer: Any, g: torch.Generator) -> None:
    """[(kernel, stride), ...] -> side in input pixels; against what one output of a real stack depends on."""
    stacks = [[(3, 2), (5, 1), (7, 3), (3, 1)], [(3, 1)], [(3, 1)] * 10, [(7, 1), (3, 1), (3, 1)], [(3, 2), (5, 1)]]
    stacks += [[(2 * _whole(0, 3, g) + 1, _whole(1, 3, g)) for _ in range(_whole(2, 4, g))] for _ in range(6)]
    for layers in [*stacks, []]:
        compare(
            f"receptive field of {layers}",
            call(answer, list(layers)),
            _measured_field(layers),
            {
                "the input pixel itself is missing: start with r = 1": _field(layers, start=0),
                "strides of EARLIER layers count: later layers step over several input pixels": _field(layers, "none"),
                "a layer's own stride does not widen what it sees: use j before you change it": _field(layers, "own"),
                "a kernel adds k - 1 pixels, not k": _field(layers, shrink=0),
                "a kernel adds k - 1 pixels, not k: kernels overlap": sum(k for k, _ in layers),
                "the first layer of the list is the first after the input: you walk backwards": _field(layers[::-1]),
                "kernels do not multiply; each adds (k - 1) jumps": math.prod(k for k, _ in layers),
                "jumps multiply, they do not add: j *= stride": _field(layers, "sum"),
            },
        )


def _measured_field(layers: Sequence[tuple[int, int]]) -> int:
    """Count the inputs that one output of a 1-D stack of all-ones kernels depends on."""
    length = 1
    for k, s in reversed(layers):
        length = (length - 1) * s + k  # the shortest input that gives this output
    x = torch.ones(1, 1, length + 8, dtype=torch.float64, requires_grad=True)
    y = x
    for k, s in layers:
        y = nn.functional.conv1d(y, torch.ones(1, 1, k, dtype=torch.float64), stride=s)
    (gradient,) = torch.autograd.grad(y[0, 0, 0], x)
    seen = gradient[0, 0].nonzero()  # where a kernel is shorter than the stride before it, pixels between are skipped
    return int(seen[-1] - seen[0] + 1)


def _field(layers: Sequence[tuple[int, int]], jumps: str = "", start: int = 1, shrink: int = 1) -> int:
    """The formula with a mistake in it: which jumps are used, the first value, what is taken off a kernel."""
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


@exercise("2.3", "wire one prediction")
def predict_next(answer: Any, g: torch.Generator) -> None:
    """(model, x_prev, x_t, P_t, eps) -> prediction, mu, logvar; on a small real model with random weights."""
    model = _small_model(g)
    images = torch.rand(3, 2, 3, 16, 24, generator=g)  # x_prev, x_t, P_t: each (B, 3, H, W)
    eps = torch.randn(2, *model.latent_shape, generator=g)  # (B, N, h, w)

    def wired(
        current: int = 1, last: int = 0, swap: str = "", labels: Callable[[Tensor], Tensor] | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Prediction, mu, logvar, z of a wiring: which image is the current and the last frame, what is swapped."""
        rgb, pose = model.frame_transformation, labels or model.label_transformation
        if swap == "encoders":
            rgb, pose = pose, rgb
        feature = pose(images[2])
        pair = [rgb(images[current]), feature]
        z, mu, logvar = model.Gaussian_Predictor(*(pair[::-1] if swap == "posterior" else pair), eps)
        pair = [rgb(images[last]), feature]
        used = {"mu": mu, "eps": eps, "zero": torch.zeros_like(z)}.get(swap, z)
        fused = model.Decoder_Fusion(*(pair[::-1] if swap == "decoder" else pair), used)
        return model.Generator(fused), mu, logvar, z

    got = _tuple(call(answer, model, *images.clone(), eps.clone()), 3, "prediction, mu, logvar")
    feature = model.label_transformation(images[2])
    z, mu, logvar = model.posterior(images[1], feature, eps)  # the model's own path is the reference
    expected = {"prediction": model.step(images[0], feature, z), "mu": mu, "logvar": logvar}
    wrong = {
        "the posterior was fed with the last frame; it must see the CURRENT frame x_t": wired(current=0),
        "the decoder was fed with x_t, the frame it has to predict (a leak); it must see the LAST frame x_prev": wired(
            last=1
        ),
        "the two frames are swapped: x_t for the posterior, x_prev for the decoder": wired(current=0, last=1),
        "the encoders are swapped: frame_transformation reads frames, label_transformation the pose": wired(
            swap="encoders"
        ),
        "the pose has to pass label_transformation, not frame_transformation": wired(labels=model.frame_transformation),
        "Gaussian_Predictor takes the frame's feature first, then the pose's": wired(swap="posterior"),
        "Decoder_Fusion takes the frame's feature first, then the pose's": wired(swap="decoder"),
        "the posterior was fed with the pose in place of the current frame": wired(current=2),
        "the decoder was fed with the pose in place of the last frame": wired(last=2),
        "the decoder was fed with mu; it takes z": wired(swap="mu"),
        "the decoder was fed with eps; it takes z, which Gaussian_Predictor makes of eps": wired(swap="eps"),
        "the decoder was fed with zeros; it takes z": wired(swap="zero"),
    }
    order = {"the order is (prediction, mu, logvar); this is": [mu, logvar, z, expected["prediction"]]}
    names = ("mu", "logvar", "z", "the prediction")
    # The whole of a wiring is compared first: two mistakes may share a part.
    if all(isinstance(v, Tensor) for v in got):
        for hint, values in wrong.items():
            if all(_alike(v, w) for v, w in zip(got, values[:3])):
                for name, v in zip(expected, got):
                    compare(name, v, expected[name], {hint: v.detach().clone()})
    for k, (name, value) in enumerate(zip(expected, got)):
        hints = {hint: values[k] for hint, values in wrong.items()}
        for hint, others in order.items():
            hints |= {f"{hint} {n}": other for n, other in zip(names, others)}
        if name == "prediction" and isinstance(value, Tensor) and value.shape == expected[name].shape:
            again = _tuple(call(answer, model, *images.clone(), eps.clone()), 3, "prediction, mu, logvar")
            if not _alike(again[k], value):
                hints["z is drawn anew in every call: hand eps over to Gaussian_Predictor"] = value.detach().clone()
        compare(name, value, expected[name], hints)
    require(
        all(v.requires_grad for v in got), "results that gradients can pass", "results cut off from the graph",
        "this is a training step: no torch.no_grad(), no detach()",
    )  # fmt: skip


def _alike(a: Any, b: Tensor) -> bool:
    return isinstance(a, Tensor) and a.shape == b.shape and bool(torch.allclose(a, b, rtol=1e-4, atol=1e-5))


def _small_model(g: torch.Generator) -> ConditionalVAE:
    """A fast model of few channels whose weights are large enough for every input to show."""
    model = ConditionalVAE(LabConfig(frame_H=16, frame_W=24, width=4, N_dim=3)).eval()
    with torch.no_grad():
        for p in model.parameters():
            fan_in = p[0].numel() if p.dim() == 4 else 1
            p.copy_(torch.randn(p.shape, generator=g) * (1.5 / math.sqrt(fan_in) if p.dim() == 4 else 0.3))
    return model


@exercise("2.4", "multiply-adds, and what half resolution saves")
def conv_cost(answer: Any, g: torch.Generator) -> None:
    """(k, channels, H, W) -> multiply-adds at full and at half resolution; against torch's counter."""
    cases = [(3, [3, 16], 32, 64), (3, [3, 16, 16, 16], 32, 64), (5, [4, 6, 10], 10, 14)]
    for _ in range(4):
        channels = [_whole(2, 7, g) for _ in range(_whole(2, 4, g))]
        H = 2 * _whole(3, 8, g)
        cases.append((2 * _whole(1, 2, g) + 1, channels, H, H + 2 * _whole(1, 8, g)))
    for k, channels, H, W in cases:
        got = _tuple(call(answer, k, list(channels), H, W), 2, "full, half")
        given = f"resolution, for k={k}, channels={channels}, H={H}, W={W}"
        full, half = (_counted(k, channels, H, W, factor) for factor in (1, 2))
        first = k * k * channels[0] * channels[1] * H * W  # the first layer, at either resolution
        weights = [k * k * a * b for a, b in pairwise(channels)]
        tolerance = dict(rtol=1e-9, atol=0.5)
        compare(
            f"multiply-adds at full {given}",
            got[0],
            full,
            {
                "a multiply-add is one here: FLOPs are twice as many": 2 * full,
                "the kernel has k * k places": full // k,
                "these are the weights alone; each is used once for every place, H * W": sum(weights),
                "these are weights and biases; count multiply-adds: weights times places": sum(weights)
                + sum(channels[1:]),
                "the biases do not count": full + sum(channels[1:]) * H * W,
                "H * W places, not H * H": full * H // W,
                "H * W places, not W * W": full * W // H,
                "padding keeps the size: the output has H * W places": sum(weights) * (H - k + 1) * (W - k + 1),
                "only the first layer is counted": first,
                "only the last layer is counted": weights[-1] * H * W,
                "the first layer is missing": full - first,
            },
            **tolerance,
        )
        compare(
            f"multiply-adds at half {given}",
            got[1],
            half,
            {
                "the first layer reads 4 * channels[0] channels: pixel_unshuffle loses no pixel": full // 4,
                "both sides are halved: a quarter of the places": (full - first) // 2 + 2 * first,
                "both sides are halved: a quarter of the places, and 4 times the first layer's inputs": full // 2,
                "only the FIRST layer reads 4 times as many channels; the others keep theirs": sum(weights[1:])
                * H * W + first,
                "a multiply-add is one here: FLOPs are twice as many": 2 * half,
                "this is the saving, not the multiply-adds at half resolution": full / half,
                "these are the multiply-adds saved, not those that remain": full - half,
            },
            **tolerance,
        )  # fmt: skip


def _counted(k: int, channels: Sequence[int], H: int, W: int, factor: int) -> int:
    """What torch's counter says of a real stack behind ``pixel_unshuffle(factor)``; it counts 2 for a multiply-add."""
    read = [channels[0] * factor**2, *channels[1:]]
    x = nn.functional.pixel_unshuffle(torch.zeros(1, channels[0], H, W), factor)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        for a, b in pairwise(read):
            x = nn.functional.conv2d(x, torch.zeros(b, a, k, k), padding=k // 2)
    return counter.get_total_flops() // 2
