"""How an exercise is checked: the learner's code and ours get the same random inputs, and the results are compared.

A check is a function that is given the learner's answer and a source of randomness; it calls the answer through
``call`` and compares what comes back through ``compare``.  A mistake that many make is stated beside it as code: where
the learner's result equals what that code gives, its name is the hint.

    @exercise("3.1", "reparameterize")
    def reparameterize(answer, g):
        mu, logvar, eps = torch.randn(3, 4, 12, generator=g)
        compare(
            "z", call(answer, mu, logvar, eps), mu + torch.exp(logvar / 2) * eps,
            {"exp(logvar) is the variance; sigma is its square root": mu + torch.exp(logvar) * eps},
        )

In a notebook, ``checks.reparameterize(my_function)`` prints ``passed 3.1: reparameterize``, the same line every time;
it says ``to do`` while the answer is missing, and raises ``CheckFailed`` where it is wrong.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

SEED = "LAB_CHECK_SEED"  # environment: another seed of the inputs, as grading uses
SHOWN = 4  # numbers of a tensor that a message shows


class CheckFailed(AssertionError):
    """The learner's answer is not right; the message says what was expected, what came, and the likely cause."""

    def _render_traceback_(self) -> list[str]:
        """What Jupyter shows in place of a traceback, which would only lead into this package."""
        return str(self).splitlines()


class NotDone(Exception):
    """The answer is still missing."""


class Exercise:
    """One exercise's check; call it with the answer.

    Attributes:
        number: "3.1": the notebook and the place in it.
        title: a few words.
    """

    def __init__(self, number: str, title: str, verify: Callable[[Any, torch.Generator], None]):
        self.number, self.title, self.verify = number, title, verify
        self.__doc__ = verify.__doc__

    def __call__(self, answer: Any = None) -> None:
        """Print one line: passed, or to do.

        Raises:
            CheckFailed: the answer is wrong.
        """
        try:
            self.judge(answer, int(os.environ.get(SEED, "0")))
        except NotDone:
            print(f"to do {self.number}: {self.title}")
        else:
            print(f"passed {self.number}: {self.title}")

    def judge(self, answer: Any, seed: int = 0) -> None:
        """The check without its line.

        Raises:
            NotDone: ``answer`` is None, or raises NotImplementedError.
            CheckFailed: it is wrong.
        """
        if answer is None or answer is Ellipsis:
            raise NotDone
        with torch.random.fork_rng(devices=[]):  # an answer may draw from the global generator
            torch.manual_seed(seed)
            try:
                self.verify(answer, torch.Generator().manual_seed(seed + 1))
            except CheckFailed as failure:
                raise CheckFailed(f"{self.number} {self.title}: not yet\n{failure}") from None


EXERCISES: dict[str, Exercise] = {}


def exercise(number: str, title: str) -> Callable[[Callable[[Any, torch.Generator], None]], Exercise]:
    """Make a check of a function (answer, generator) -> None, and enter it in ``EXERCISES``."""

    def wrap(verify: Callable[[Any, torch.Generator], None]) -> Exercise:
        if number in EXERCISES:
            raise ValueError(f"there are two exercises {number}")
        EXERCISES[number] = Exercise(number, title, verify)
        return EXERCISES[number]

    return wrap


# ---------------------------------------------------------------------------------------------- inside of a check


def call(answer: Any, *args: Any, **kwargs: Any) -> Any:
    """The learner's function applied to ``args``.

    Raises:
        NotDone: it raises NotImplementedError, or gives None.
        CheckFailed: it is no function, or raises something else.
    """
    if not callable(answer):
        fail("a function", f"{type(answer).__name__} {show(answer)}", "hand over the function itself, not its result")
    try:
        result = answer(*args, **kwargs)
    except NotImplementedError:
        raise NotDone from None
    except Exception as error:  # whatever the learner's code does wrong
        given = ", ".join([show(a) for a in args] + [f"{k}={show(v)}" for k, v in kwargs.items()])
        fail(f"a result for ({given})", f"{type(error).__name__}: {error}", _place(error))
    if result is None:
        fail("a value", "None", "the function does not return what it computes; is a `return` missing?")
    return result


def compare(
    what: str,
    got: Any,
    expected: Any,
    mistakes: Mapping[str, Any] | None = None,
    rtol: float = 1e-4,
    atol: float = 1e-5,
) -> None:
    """Nothing, where ``got`` equals ``expected`` within the tolerances.

    Args:
        what: the name of what is compared.
        got, expected: tensors, arrays, numbers, (nested) lists of numbers; strings and booleans are compared exactly.
        mistakes: hint -> what somebody gets who makes that mistake; the first that equals ``got`` is the likely cause.

    Raises:
        CheckFailed: with ``what``, both values, their shapes and the likely cause.
    """
    if same(got, expected, rtol, atol):
        return
    wanted, came = show(expected), show(got)
    if wanted == came:  # the numbers that are shown are equal: show the first that differs
        x, y = _array(got), _array(expected)
        place = np.unravel_index(np.flatnonzero(~np.isclose(x, y, rtol=rtol, atol=atol))[0], x.shape)
        index = ", ".join(map(str, place))
        wanted, came = (f"{text}, at [{index}]: {v[place]:.6g}" for text, v in ((wanted, y), (came, x)))
    for hint, value in (mistakes or {}).items():
        if not same(value, expected, rtol, atol) and same(got, value, rtol, atol):
            fail(wanted, came, hint, what)
    fail(wanted, came, _general_cause(got, expected, rtol, atol), what)


def require(condition: Any, expected: str, got: Any, hint: str = "", what: str = "") -> None:
    """Nothing where ``condition`` holds; else ``CheckFailed`` with this text."""
    if not bool(condition):
        fail(expected, got if isinstance(got, str) else show(got), hint, what)


def fail(expected: str, got: str, hint: str = "", what: str = "") -> None:
    """Raises ``CheckFailed`` with a message in the one form that all of them have."""
    rows = [("what", what), ("expected", expected), ("got", got), ("likely", hint)]
    raise CheckFailed("\n".join(f"  {name:<9} {text}" for name, text in rows if text))


def same(a: Any, b: Any, rtol: float = 1e-4, atol: float = 1e-5) -> bool:
    """Whether two values have the same shape and are equal within the tolerances (NaN equals nothing)."""
    if isinstance(a, (str, bool)) or isinstance(b, (str, bool)):
        return type(a) is type(b) and a == b
    try:
        x, y = _array(a), _array(b)
    except (TypeError, ValueError):
        return False
    return x.shape == y.shape and bool(np.allclose(x, y, rtol=rtol, atol=atol))


def show(value: Any) -> str:
    """A value in a few words: kind, shape and first numbers."""
    if isinstance(value, (str, bool)) or value is None or callable(value):
        return getattr(value, "__name__", None) or repr(value)
    try:
        x = _array(value)
    except (TypeError, ValueError):
        return f"{type(value).__name__} {str(value)[:60]}"
    if x.ndim == 0:
        return f"{x.item():.6g}"
    numbers = ", ".join(f"{v:.4g}" for v in x.ravel()[:SHOWN])
    return f"shape {tuple(x.shape)}: [{numbers}{', …' if x.size > SHOWN else ''}]"


def _array(value: Any) -> np.ndarray:
    if isinstance(value, Tensor):
        value = value.detach().cpu().double().numpy()
    return np.asarray(value, dtype=np.float64)


def _general_cause(got: Any, expected: Any, rtol: float, atol: float) -> str:
    """What went wrong, as far as the two values alone tell."""
    if isinstance(expected, (str, bool)):
        return ""
    try:
        x, y = _array(got), _array(expected)
    except (TypeError, ValueError):
        return f"a number or tensor was expected, not {type(got).__name__}"
    if x.shape != y.shape:
        if x.ndim == y.ndim >= 2 and x.swapaxes(-1, -2).shape == y.shape:
            return "the last two axes are swapped: height comes before width"
        if sorted(x.shape) == sorted(y.shape):
            return "the axes are in another order; images are (…, 3, H, W) in the model"
        if x.size == y.size:
            return "the numbers are as many as expected, in another shape"
        return "the shape differs: look at which axes are summed, averaged or stacked"
    if np.isnan(x).any():
        return "NaN: a logarithm or root of a negative number, or 0 / 0"
    pair = np.abs(y) > atol
    if pair.any():
        ratio = x[pair] / y[pair]
        if abs(ratio.mean()) > atol and np.allclose(ratio, ratio.mean(), rtol=max(rtol, 1e-4)):
            factor = float(ratio.mean())
            if abs(factor + 1) < 1e-3:
                return "the sign is wrong"
            return f"everything is {factor:.6g} times what is expected"
    if np.allclose(x - y, (x - y).mean(), rtol=1e-4, atol=atol):
        return f"everything is off by {float((x - y).mean()):.6g}"
    return ""


def _place(error: Exception) -> str:
    """The line of the learner's code where it happened, if it is known."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        if "labutils" not in trace.tb_frame.f_code.co_filename.replace("\\", "/").split("/"):
            place = f"it happened in line {trace.tb_lineno} of {trace.tb_frame.f_code.co_name}"
        trace = trace.tb_next
    return place
