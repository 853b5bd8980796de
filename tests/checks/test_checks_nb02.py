"""The checks of notebook 02 tell mistakes apart."""

import math
from itertools import pairwise

import pytest
from exercises import rejected

from labutils import checks

# ------------------------------------------------------------------------------------------------------------- 2.1


def side(n, k, s, p):
    return (n + 2 * p - k) // s + 1


CONV = {
    "biases are missing": lambda k, i, o, s, p, H, W: ((o, side(H, k, s, p), side(W, k, s, p)), k * k * i * o),
    "belongs to the output channels": lambda k, i, o, s, p, H, W: (
        (o, side(H, k, s, p), side(W, k, s, p)), k * k * i * o + i,
    ),
    "k \\* k places": lambda k, i, o, s, p, H, W: ((o, side(H, k, s, p), side(W, k, s, p)), k * i * o + o),
    "size does not count": lambda k, i, o, s, p, H, W: (
        (o, side(H, k, s, p), side(W, k, s, p)), k * k * i * o * H * W + o,
    ),
    "height and width are swapped": lambda k, i, o, s, p, H, W: (
        (o, side(W, k, s, p), side(H, k, s, p)), k * k * i * o + o,
    ),
    "padding is on both sides": lambda k, i, o, s, p, H, W: (
        (o, (H + p - k) // s + 1, (W + p - k) // s + 1), k * k * i * o + o,
    ),
    "\\+ 1 is missing": lambda k, i, o, s, p, H, W: (
        (o, side(H, k, s, p) - 1, side(W, k, s, p) - 1), k * k * i * o + o,
    ),
    "round down": lambda k, i, o, s, p, H, W: (
        (o, math.ceil((H + 2 * p - k) / s) + 1, math.ceil((W + 2 * p - k) / s) + 1), k * k * i * o + o,
    ),
    "stride is missing": lambda k, i, o, s, p, H, W: ((o, side(H, k, 1, p), side(W, k, 1, p)), k * k * i * o + o),
    "end with `return": lambda k, i, o, s, p, H, W: k * k * i * o + o,
}  # fmt: skip


@pytest.mark.parametrize("hint", CONV)
def test_convolution_mistakes(hint):
    rejected(checks.conv_facts, CONV[hint], hint)


# ------------------------------------------------------------------------------------------------------------- 2.2


def walk(layers, first=1, jumps="before", full=False):
    r, j = first, 1
    for k, s in layers:
        j = j * s if jumps == "own" else j
        r += (k if full else k - 1) * j
        j = {"before": j * s, "add": j + s}.get(jumps, j)
    return r


FIELD = {
    "start with r = 1": lambda layers: walk(layers, first=0),
    "EARLIER layers count": lambda layers: walk(layers, jumps="none"),
    "own stride": lambda layers: walk(layers, jumps="own"),
    "k - 1 pixels, not k$": lambda layers: walk(layers, full=True),
    "kernels overlap": lambda layers: sum(k for k, _ in layers),
    "walk backwards": lambda layers: walk(layers[::-1]),
    "kernels do not multiply": lambda layers: math.prod(k for k, _ in layers),
    "jumps multiply": lambda layers: walk(layers, jumps="add"),
}


@pytest.mark.parametrize("hint", FIELD)
def test_receptive_field_mistakes(hint):
    rejected(checks.receptive_field, FIELD[hint], hint)


# ------------------------------------------------------------------------------------------------------------- 2.3


def wire(m, current, last, P, eps, *, rgb=None, pose=None, flip_q=False, flip_d=False, use=None):
    rgb, pose = rgb or m.frame_transformation, pose or m.label_transformation
    pair = [rgb(current), pose(P)]
    z, mu, logvar = m.Gaussian_Predictor(*(pair[::-1] if flip_q else pair), eps)
    pair = [rgb(last), pose(P)]
    z = z if use is None else use(mu)
    return m.Generator(m.Decoder_Fusion(*(pair[::-1] if flip_d else pair), z)), mu, logvar


WIRING = {
    "posterior was fed with the last frame": lambda m, a, b, P, e: wire(m, a, a, P, e),
    "a leak": lambda m, a, b, P, e: wire(m, b, b, P, e),
    "two frames are swapped": lambda m, a, b, P, e: wire(m, a, b, P, e),
    "encoders are swapped": lambda m, a, b, P, e: wire(
        m, b, a, P, e, rgb=m.label_transformation, pose=m.frame_transformation
    ),
    "has to pass label_transformation": lambda m, a, b, P, e: wire(m, b, a, P, e, pose=m.frame_transformation),
    "Gaussian_Predictor takes the frame": lambda m, a, b, P, e: wire(m, b, a, P, e, flip_q=True),
    "Decoder_Fusion takes the frame": lambda m, a, b, P, e: wire(m, b, a, P, e, flip_d=True),
    "fed with mu; it takes z": lambda m, a, b, P, e: wire(m, b, a, P, e, use=lambda mu: mu),
    "drawn anew in every call": lambda m, a, b, P, e: wire(m, b, a, P, None),
    "pose in place of the current frame": lambda m, a, b, P, e: wire(m, P, a, P, e),
    "pose in place of the last frame": lambda m, a, b, P, e: wire(m, b, P, P, e),
    "this is mu": lambda m, a, b, P, e: tuple(wire(m, b, a, P, e)[k] for k in (1, 0, 2)),
    "no torch.no_grad": lambda m, a, b, P, e: tuple(v.detach() for v in wire(m, b, a, P, e)),
    "end with `return": lambda m, a, b, P, e: wire(m, b, a, P, e)[0],
}


@pytest.mark.parametrize("hint", WIRING)
def test_wiring_mistakes(hint):
    rejected(checks.predict_next, WIRING[hint], hint)


def test_other_places_of_mu_and_logvar_are_told():
    def swapped(m, a, b, P, e):
        prediction, mu, logvar = wire(m, b, a, P, e)
        return prediction, logvar, mu

    def z_for_mu(m, a, b, P, e):
        z, _, logvar = m.Gaussian_Predictor(m.frame_transformation(b), m.label_transformation(P), e)
        return wire(m, b, a, P, e)[0], z, logvar

    rejected(checks.predict_next, swapped, "this is logvar")
    rejected(checks.predict_next, z_for_mu, "this is z")


# ------------------------------------------------------------------------------------------------------------- 2.4


def work(k, channels, places):
    return sum(k * k * a * b * places for a, b in pairwise(channels))


def right(k, c, H, W):
    return work(k, c, H * W), work(k, [4 * c[0], *c[1:]], H * W // 4)


COST = {
    "FLOPs are twice": lambda k, c, H, W: tuple(2 * v for v in right(k, c, H, W)),
    "k \\* k places": lambda k, c, H, W: tuple(v // k for v in right(k, c, H, W)),
    "weights alone": lambda k, c, H, W: (work(k, c, 1), 0),
    "biases do not count": lambda k, c, H, W: (work(k, c, H * W) + sum(c[1:]) * H * W, 0),
    "not H \\* H": lambda k, c, H, W: (work(k, c, H * H), work(k, c, H * H // 4)),
    "reads 4 \\* channels": lambda k, c, H, W: (work(k, c, H * W), work(k, c, H * W // 4)),
    "both sides are halved": lambda k, c, H, W: (work(k, c, H * W), work(k, [4 * c[0], *c[1:]], H * W // 2)),
    "saved, not those that remain": lambda k, c, H, W: (work(k, c, H * W), work(k, c, H * W) - right(k, c, H, W)[1]),
}


@pytest.mark.parametrize("hint", COST)
def test_cost_mistakes(hint):
    rejected(checks.conv_cost, COST[hint], hint)
