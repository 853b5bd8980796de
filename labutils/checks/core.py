"""How an exercise is checked: the learner's answer and a reference get the same inputs, and the results are compared.

A check is a function that is given the learner's answer and a source of randomness.  Beside it stand a reference
solution and the mistakes that many make, each as a wrong answer:

    def _draw(mu, logvar, eps):
        return mu + torch.exp(logvar / 2) * eps

    @exercise("3.1", "reparameterize", _draw, {
        "exp(logvar) is the variance; sigma is its square root": lambda mu, logvar, eps: mu + logvar.exp() * eps,
    })
    def reparameterize(answer, g):
        agree("z", answer, _draw, *torch.randn(3, 4, 12, generator=g))

Where an answer is refused, the check is run again with each of the wrong answers, on the same inputs.  The first that
fails at the same place with the same result is what the learner did, and its name is the hint.

In a notebook, ``checks.reparameterize(my_function)`` prints ``passed 3.1: reparameterize``, the same line every time;
it says ``to do`` while the answer is missing, and raises ``CheckFailed`` where it is wrong.
"""

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

SEED = "LAB_CHECK_SEED"  # environment: another seed of the inputs, as grading uses
SHOWN = 4  # numbers of a tensor that a message shows
RTOL, ATOL = 1e-4, 1e-5

Answer = Callable[..., Any]
Verify = Callable[[Any, torch.Generator], None]


@dataclass(eq=False)
class CheckFailed(AssertionError):
    """The learner's answer is not right; the message says what was expected, what came, and the likely cause."""

    expected: str
    got: str
    hint: str = ""
    what: str = ""  # is compared
    place: str = ""  # where in its check this is; one check uses each place once
    value: Any = ""  # that came there, if the cause depends on it
    tolerance: tuple[float, float] = (RTOL, ATOL)  # within which another value is the same
    title: str = ""  # number and title of the exercise

    def __str__(self) -> str:
        rows = [("what", self.what), ("expected", self.expected), ("got", self.got), ("likely", self.hint)]
        head = [f"{self.title}: not yet"] if self.title else []
        return "\n".join(head + [f"  {name:<9} {text}" for name, text in rows if text])

    def like(self, other: "CheckFailed") -> bool:
        """Whether the other one failed at the same place, and with the same value."""
        return self.place == other.place and same(self.value, other.value, *self.tolerance, equal_nan=True)

    def _render_traceback_(self) -> list[str]:
        """What Jupyter shows in place of a traceback, which would only lead into this package."""
        return str(self).splitlines()


class NotDone(Exception):
    """The answer is still missing."""


@dataclass(eq=False)
class Exercise:
    """One exercise's check; call it with the answer."""

    number: str  # "3.1": the notebook and the place in it
    title: str  # a few words
    verify: Verify
    reference: Any = None  # an answer that is right
    mistakes: Mapping[str, Any] = field(default_factory=dict)  # hint -> an answer that is wrong in this way

    def __post_init__(self) -> None:
        self.__doc__ = self.verify.__doc__

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
        failure = self.failure(answer, seed)
        if failure is not None:
            failure.hint = self._mistake(failure, seed) or failure.hint
            failure.title = f"{self.number} {self.title}"
            raise failure from None

    def failure(self, answer: Any, seed: int) -> CheckFailed | None:
        """How the answer fails, before the mistakes are looked at; None where it passes."""
        with torch.random.fork_rng(devices=[]):  # an answer may draw from the global generator
            torch.manual_seed(seed)
            try:
                self.verify(answer, torch.Generator().manual_seed(seed + 1))
            except CheckFailed as failure:
                return failure.with_traceback(None)
        return None

    def _mistake(self, failure: CheckFailed, seed: int) -> str:
        """The first mistake that fails in the same way, or ""."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for hint, wrong in self.mistakes.items():
                other = self.failure(wrong, seed)
                if other is not None and failure.like(other):
                    return hint
        return ""


EXERCISES: dict[str, Exercise] = {}


def exercise(
    number: str, title: str, reference: Any = None, mistakes: Mapping[str, Any] | None = None
) -> Callable[[Verify], Exercise]:
    """Make a check of a function (answer, generator) -> None, and enter it in ``EXERCISES``.

    Args:
        number, title, reference: see ``Exercise``.
        mistakes: hint -> a wrong answer; a dict stands for the reference with these keyword arguments.
    """

    def wrap(verify: Verify) -> Exercise:
        if number in EXERCISES:
            raise ValueError(f"there are two exercises {number}")
        answers = {
            hint: partial(reference, **wrong) if isinstance(wrong, dict) else wrong
            for hint, wrong in (mistakes or {}).items()
        }
        EXERCISES[number] = Exercise(number, title, verify, reference, answers)
        return EXERCISES[number]

    return wrap


# ---------------------------------------------------------------------------------------------- inside of a check


def agree(
    what: str, answer: Any, reference: Answer, *inputs: Any, parts: Sequence[str] = (), order: Sequence[int] = (),
    rtol: float = RTOL, atol: float = ATOL,
) -> Any:  # fmt: skip
    """Call answer and reference with copies of the inputs, compare the results, and return the answer's.

    Args:
        what: the name of the result.
        parts: names of the values, where several are returned.
        order: in which they are compared; one that tells mistakes apart comes first.

    Raises:
        NotDone, CheckFailed: see ``call``, ``unpack`` and ``compare``.
    """
    got, expected = call(answer, *map(_copy, inputs)), reference(*map(_copy, inputs))
    if not parts:
        compare(what, got, expected, rtol, atol)
    else:
        got = unpack(got, *parts)
        for k in order or range(len(parts)):
            compare(f"{parts[k]} {what}".strip(), got[k], expected[k], rtol, atol)
    return got


def call(answer: Any, *args: Any, **kwargs: Any) -> Any:
    """The learner's function applied to ``args``.

    Raises:
        NotDone: it raises NotImplementedError.
        CheckFailed: it is no function, raises something else, or gives None.
    """
    if not callable(answer):
        fail("a function", f"{type(answer).__name__} {show(answer)}", "hand over the function itself, not its result")
    try:
        result = answer(*args, **kwargs)
    except NotImplementedError:
        raise NotDone from None
    except Exception as error:  # whatever the learner's code does wrong
        given = ", ".join([show(a) for a in args] + [f"{k}={show(v)}" for k, v in kwargs.items()])
        fail(f"a result for ({given})", f"{type(error).__name__}: {error}", _line(error))
    if result is None:
        fail("a value", "None", "the function does not return what it computes; is a `return` missing?")
    return result


def unpack(got: Any, *names: str) -> Any:
    """``got``, if it is as many values as there are names: a tuple, a list, or an array (n,).

    Raises:
        CheckFailed: it is anything else.
    """
    several = isinstance(got, (tuple, list)) or (isinstance(got, (Tensor, np.ndarray)) and got.ndim == 1)
    fits, form = several and len(got) == len(names), ", ".join(names)
    found = f"{len(got)} values" if isinstance(got, (tuple, list)) else f"one value, {show(got)}"
    require(fits, f"{len(names)} values: {form}", found, f"end with `return {form}`")
    return got


def compare(what: str, got: Any, expected: Any, rtol: float = RTOL, atol: float = ATOL) -> None:
    """Nothing, where ``got`` equals ``expected`` within the tolerances.

    Args:
        what: the name of what is compared.
        got, expected: tensors, arrays, numbers, (nested) lists of numbers; strings and booleans are compared exactly.

    Raises:
        CheckFailed: with ``what``, both values and their shapes.  Its cause is the mistake that gives this value.
    """
    if same(got, expected, rtol, atol):
        return
    wanted, came = show(expected), show(got)
    place = f"{what}: {wanted}"
    if wanted == came:  # the numbers that are shown are equal: show the first that differs
        x, y = _array(got), _array(expected)
        first = np.unravel_index(np.flatnonzero(~np.isclose(x, y, rtol=rtol, atol=atol))[0], x.shape)
        index = ", ".join(map(str, first))
        wanted, came = (f"{text}, at [{index}]: {v[first]:.6g}" for text, v in ((wanted, y), (came, x)))
    cause = _general_cause(got, expected, rtol, atol)
    raise CheckFailed(wanted, came, cause, what, place, got, (rtol, atol))


def require(condition: Any, expected: str, got: Any, hint: str = "", what: str = "") -> None:
    """Nothing where ``condition`` holds.

    Raises:
        CheckFailed: it does not, for the one cause that there is: ``hint``, or a mistake that fails here too.
    """
    if not bool(condition):
        raise CheckFailed(expected, got if isinstance(got, str) else show(got), hint, what, f"{what}: {expected}")


def fail(expected: str, got: str, hint: str = "", what: str = "") -> NoReturn:
    """Raises ``CheckFailed``; its cause depends on ``got``, as in ``compare``."""
    raise CheckFailed(expected, got, hint, what, f"{what}: {expected}", got)


def same(a: Any, b: Any, rtol: float = RTOL, atol: float = ATOL, equal_nan: bool = False) -> bool:
    """Whether two values have the same shape and are equal within the tolerances (NaN equals nothing)."""
    if isinstance(a, (str, bool)) or isinstance(b, (str, bool)):
        return type(a) is type(b) and bool(a == b)
    try:
        x, y = _array(a), _array(b)
    except (TypeError, ValueError):
        return False
    return x.shape == y.shape and bool(np.allclose(x, y, rtol=rtol, atol=atol, equal_nan=equal_nan))


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


def _copy(value: Any) -> Any:
    """What an answer may change without harm."""
    if isinstance(value, list):
        return [_copy(part) for part in value]
    return value.clone() if isinstance(value, Tensor) else value.copy() if isinstance(value, np.ndarray) else value


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
        if abs(ratio.mean()) > atol and np.allclose(ratio, ratio.mean(), rtol=max(rtol, RTOL)):
            factor = float(ratio.mean())
            if abs(factor + 1) < 1e-3:
                return "the sign is wrong"
            return f"everything is {factor:.6g} times what is expected"
    if np.allclose(x - y, (x - y).mean(), rtol=RTOL, atol=atol):
        return f"everything is off by {float((x - y).mean()):.6g}"
    return ""


def _line(error: Exception) -> str:
    """The line of the learner's code where it happened, if it is known."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        if "labutils" not in trace.tb_frame.f_code.co_filename.replace("\\", "/").split("/"):
            place = f"it happened in line {trace.tb_lineno} of {trace.tb_frame.f_code.co_name}"
        trace = trace.tb_next
    return place
