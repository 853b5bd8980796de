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

More than values is compared.  Inputs stay as they were, a tensor comes back as a tensor of the same dtype, a count as a
whole number, and gradients are those of the reference: by each input that requires grad, and by each parameter of a
module among the inputs.  So what a check hands in says whether its exercise is part of a training.

In a notebook, ``checks.reparameterize(my_function)`` prints ``passed 3.1: reparameterize``, the same line every time;
it says ``to do`` while the answer is missing, and raises ``CheckFailed`` where it is wrong.
"""

import contextlib
import inspect
import math
import os
import sysconfig
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

SEED = "LAB_CHECK_SEED"  # environment: another seed of the inputs, as grading uses
SHOWN = 4  # numbers of a tensor that a message shows
RTOL, ATOL = 1e-4, 1e-5
FACTORS = {  # by which a result is off; only these tell anything where it is a single number
    -1: "the sign is wrong",
    2: "this is twice what is expected",
    1 / 2: "this is half of what is expected",
    3: "this is 3 times what is expected; there are 3 channels",
    1 / 3: "this is a third of what is expected; there are 3 channels",
    math.log(10): "this is ln 10 times what is expected: log10 and the natural logarithm differ by it",
    1 / math.log(10): "this is what is expected over ln 10: log10 and the natural logarithm differ by it",
    math.log(2): "this is ln 2 times what is expected: nats and bits differ by it",
    1 / math.log(2): "this is what is expected over ln 2: nats and bits differ by it",
}
RESULT = "a result for"  # is expected where an answer raises an error
# Where code lies that no learner wrote
LIBRARIES = (str(Path(__file__).parents[1]), *(sysconfig.get_paths()[k] for k in ("stdlib", "purelib", "platlib")))

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

    @property
    def brief(self) -> str:
        """All in one sentence."""
        if not self.hint:
            return f"{self.what or 'the result'}: expected {self.expected}, got {self.got}"
        return f"{self.got}; {self.hint}" if self.expected.startswith(RESULT) else self.hint

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
            for then in ON_PASS:
                then(self, answer)

    def judge(self, answer: Any, seed: int = 0) -> None:
        """The check without its line.

        Raises:
            NotDone: ``answer`` is None, or raises NotImplementedError.
            CheckFailed: it is wrong.
        """
        if answer is None or answer is Ellipsis:
            raise NotDone
        JUDGED.append(self.number)
        try:
            failure = self.failure(answer, seed)
        finally:
            JUDGED.pop()
        if failure is not None:
            failure.hint = self._mistake(failure, seed) or failure.hint
            failure.title = f"{self.number} {self.title}"
            raise failure from None

    def failure(self, answer: Any, seed: int) -> CheckFailed | None:
        """How the answer fails, before the mistakes are looked at; None where it passes."""
        try:
            self._verify(answer, seed)
        except CheckFailed as failure:
            return failure.with_traceback(None)
        except NotDone:
            raise
        except Exception as error:  # an answer may return what no check has thought of
            if self.reference is None:
                raise
            self._verify(self.reference, seed)  # where the check itself is broken, this raises too
            return CheckFailed("a result that can be compared", told(error), "look at the type of what is returned")
        return None

    def _verify(self, answer: Any, seed: int) -> None:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():  # an answer may draw from the global generator
            torch.manual_seed(seed)
            self.verify(answer, torch.Generator().manual_seed(seed + 1))

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
JUDGED: list[str] = []  # the exercise that is judged at this moment
ON_PASS: list[Callable[[Exercise, Any], None]] = []  # what is done with an answer that passed in a notebook


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

    The values come first, then what kind of thing they are, then gradients.

    Args:
        what: the name of the result.
        inputs: by those that require grad, and by the parameters of modules, gradients are compared.
        parts: names of the values, where several are returned.
        order: in which they are compared; one that tells mistakes apart comes first.

    Raises:
        NotDone, CheckFailed: see ``call``, ``unpack`` and ``compare``.
    """

    def results(function: Answer) -> tuple[Any, Any, list[Tensor]]:
        given, leaves = zip(*map(_copy, inputs)) if inputs else ((), ())
        result = function(*given)
        return result, (unpack(result, *parts) if parts else [result]), [leaf for some in leaves for leaf in some]

    mine = partial(call, answer)
    (result, got, by), (_, expected, theirs) = results(mine), results(reference)
    titles = [f"{part} {what}".strip() for part in parts] or [what]
    places = order or range(len(titles))
    for k in places:
        try:
            compare(titles[k], got[k], expected[k], rtol, atol)
        except CheckFailed:
            if _shape(got[k]) == _shape(expected[k]) and not same(results(mine)[1][k], got[k], equal_nan=True):
                hint = "draw nothing yourself; use the noise that is handed in"
                require(False, "the same result in each call", "another one in the second call", hint, titles[k])
            raise
    for k in places:
        _compare_kind(titles[k], got[k], expected[k])
    if by:
        names = [leaf for value, name in zip(inputs, _names(answer, inputs)) for leaf in _leaf_names(value, name)]
        for k in places:
            _compare_gradients(titles[k], got[k], expected[k], names, by, theirs)
    return result


def agree_module(
    what: str, answer: Any, reference: Answer, arguments: Sequence[Any], *inputs: Any, weights: dict[str, Tensor],
    parts: Sequence[str] = (), order: Sequence[int] = (),
) -> None:  # fmt: skip
    """Compare a learner's ``nn.Module`` with a reference: names and shapes of the weights, then ``agree``.

    Args:
        what: the name of the result.
        answer, reference: called with ``arguments`` they give the modules.
        inputs: of ``forward``.
        weights: that both modules get; gradients are compared by each of them.

    Raises:
        NotDone, CheckFailed: see ``agree``.
    """
    module, theirs = call(answer, *arguments), reference(*arguments)
    require(isinstance(module, nn.Module), "an nn.Module", type(module).__name__, "class NAME(nn.Module): …")
    has = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    wants = {name: tuple(value.shape) for name, value in weights.items()}
    for name in [*wants, *has]:
        if has.get(name) != wants.get(name):
            known = ", ".join(has) or "none"
            got = f"{name} {has[name]}" if name in has else f"no {name} (there are: {known[:200]})"
            hint = "look at the layers that the text names" if name in wants else "this module needs no such layer"
            require(False, f"{name} {wants[name]}" if name in wants else f"no {name}", got, hint, "its weights")

    class Called:
        """The module with other weights, under the names of its inputs."""

        def __init__(self, inner: nn.Module):
            names = inspect.signature(inner.forward).parameters.values()
            first = inspect.Parameter("weights", inspect.Parameter.POSITIONAL_OR_KEYWORD)
            with contextlib.suppress(ValueError):  # an odd signature; the call says what is wrong with it
                self.__signature__ = inspect.Signature([first, *names])
            self.inner = inner

        def __call__(self, weights: dict[str, Tensor], *inputs: Any) -> Any:
            return functional_call(self.inner, weights, inputs)

    agree(what, Called(module), Called(theirs), weights, *inputs, parts=parts, order=order)


def call(answer: Any, *args: Any, changes: Collection[int] = ()) -> Any:
    """The learner's function applied to ``args``, which it must not change, but for those at the places ``changes``.

    Raises:
        NotDone: it raises NotImplementedError.
        CheckFailed: it is no function, raises something else, gives None, or changes an input.
    """
    if not callable(answer):
        fail("a function", f"{type(answer).__name__} {show(answer)}", "hand over the function itself, not its result")
    before = [_frozen(value) for value in args]
    try:
        result = answer(*args)
    except (Exception, SystemExit) as error:  # whatever the learner's code does wrong
        inside, last = _learners_line(error)
        if isinstance(error, NotImplementedError) and last:
            raise NotDone from None
        hint = "stay in torch: what goes through NumPy has no gradient" if "requires grad" in str(error) else inside
        given = (f"{name} {_shape(v) or show(v)[:60]}" for name, v in zip(_names(answer, args), args))
        fail(f"{RESULT} {', '.join(given)}", told(error), hint)
    if result is None:
        fail("a value", "None", "the function does not return what it computes; is a `return` missing?")
    for k, name in enumerate(_names(answer, args)):
        if k not in changes and not _alike(_frozen(args[k]), before[k]):
            hint = "work on a copy; what writes in place is x[…] = …, x += …, and methods with an underscore, x.mul_(…)"
            raise CheckFailed(f"{name} as it was", f"{name} has changed", hint, place=f"input {k} as it was")
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
    except NO_ARRAY:
        return False
    return x.shape == y.shape and bool(np.allclose(x, y, rtol=rtol, atol=atol, equal_nan=equal_nan))


def show(value: Any) -> str:
    """A value in a few words: kind, shape and first numbers."""
    if isinstance(value, (str, bool)) or value is None or callable(value):
        return getattr(value, "__name__", None) or (type(value).__name__ if callable(value) else repr(value))
    if isinstance(value, dict) and value and all(isinstance(part, Tensor) for part in value.values()):
        return f"of {len(value)} tensors"
    try:
        x = _array(value)
    except NO_ARRAY:
        return f"{type(value).__name__} {' '.join(str(value).split())[:60]}"
    if x.ndim == 0:
        return f"{x.item():.6g}"
    numbers = ", ".join(f"{v:.4g}" for v in x.ravel()[:SHOWN])
    return f"shape {tuple(x.shape)}: [{numbers}{', …' if x.size > SHOWN else ''}]"


# ---------------------------------------------------------------------------------------------------------- inputs


def _copy(value: Any) -> tuple[Any, list[Tensor]]:
    """What an answer may change without harm, and the leaves of its graph, by which gradients are taken."""
    if isinstance(value, nn.Module):
        return value, list(value.parameters())
    if isinstance(value, dict):
        copies = {key: _copy(part) for key, part in value.items()}
        return {key: copy for key, (copy, _) in copies.items()}, [leaf for _, some in copies.values() for leaf in some]
    if isinstance(value, Tensor) and value.requires_grad:
        leaf = value.detach().clone().requires_grad_()
        return leaf.clone(), [leaf]  # no leaf itself: torch would refuse to work on that in place, in other words
    return _frozen(value), []


def _frozen(value: Any) -> Any:
    """A copy of numbers in any wrapping, that requires grad where they do; of a module its state; else the value."""
    if isinstance(value, nn.Module):
        return _frozen([*value.state_dict().values(), [p.requires_grad for p in value.parameters()]])
    if isinstance(value, dict):
        return {key: _frozen(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([_frozen(part) for part in value])
    if isinstance(value, Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    return value.copy() if isinstance(value, np.ndarray) else value


def _alike(a: Any, b: Any) -> bool:
    """Whether two results of ``_frozen`` are the same; ``a``, the later one, may require grad where ``b`` did not."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_alike(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(_alike, a, b))
    if isinstance(a, Tensor) and b.requires_grad and not a.requires_grad:
        return False
    return same(a, b, 0, 0, equal_nan=True) if isinstance(a, (Tensor, np.ndarray)) else bool(a is b or a == b)


def _names(answer: Any, args: Sequence[Any]) -> list[str]:
    """What the learner's function calls its arguments."""
    try:
        names = list(islice(inspect.signature(answer).parameters, len(args)))
    except (TypeError, ValueError):
        names = []
    return [*names, *(f"input {k + 1}" for k in range(len(names), len(args)))]


def _leaf_names(value: Any, name: str) -> list[str]:
    """Names of the leaves that ``_copy`` finds."""
    if isinstance(value, nn.Module):
        return [f"{name}.{parameter}" for parameter, _ in value.named_parameters()]
    if isinstance(value, dict):
        return [leaf for key, part in value.items() for leaf in _leaf_names(part, key)]
    return [name] if isinstance(value, Tensor) and value.requires_grad else []


# --------------------------------------------------------------------------------------------------------- results

NO_ARRAY = (TypeError, ValueError, RuntimeError)


def _compare_kind(what: str, got: Any, expected: Any) -> None:
    """A tensor is a tensor of the same dtype, and a count is a whole number.

    A single number may be one of Python, of NumPy or of torch, unless it must be differentiated.
    """
    if isinstance(expected, Tensor) and (expected.ndim or expected.requires_grad):
        hint = "torch.from_numpy makes a tensor of an array" if isinstance(got, np.ndarray) else ""
        if expected.requires_grad:
            hint = "no .item(), float() or NumPy: gradients must be able to pass"
        require(isinstance(got, Tensor), "a torch.Tensor", type(got).__name__, hint, what)
        to = f"to make it so, .to({expected.dtype}); or look where the other dtype comes in"
        require(got.dtype == expected.dtype, str(expected.dtype), str(got.dtype), to, what)
    elif not isinstance(expected, (Tensor, bool)) and np.asarray(expected).dtype.kind == "i":
        whole = not got.is_floating_point() if isinstance(got, Tensor) else np.asarray(got).dtype.kind in "iu"
        found = f"{show(got)}, a {type(got).__name__}"
        require(whole, "a whole number", found, "int() makes one; // divides whole numbers, / gives a float", what)


def _compare_gradients(
    what: str, got: Any, expected: Any, names: Sequence[str], by: Sequence[Tensor], theirs: Sequence[Tensor]
) -> None:
    """The gradient of a weighted sum of ``got`` by each leaf is that of ``expected``."""
    if not isinstance(expected, Tensor):
        return
    weights = torch.linspace(0.5, 1.5, expected.numel(), dtype=expected.dtype).view(expected.shape)

    def slopes(value: Tensor, leaves: Sequence[Tensor]) -> Sequence[Tensor]:
        if not value.requires_grad:
            return [torch.zeros_like(leaf) for leaf in leaves]
        return torch.autograd.grad(value, leaves, weights, True, allow_unused=True, materialize_grads=True)

    wanted = slopes(expected, theirs)
    try:
        found = slopes(got, by)
    except RuntimeError as error:
        hint = "an operation in place (exp_, mul_, …) overwrote what the backward pass needs; use exp, *, +"
        fail("a gradient", told(error), hint, what)
    noise = 1e-5 * max(float(right.abs().max()) for right in wanted)
    for k, (name, right, mine) in enumerate(zip(names, wanted, found)):
        if same(mine, right, 1e-3, noise):
            continue
        shown, came = ("none" if same(v, 0 * v, 0, noise) else show(v) for v in (right, mine))
        if shown == "none":
            hint = f"{name} must be cut off from the graph: detach()"
        elif came == "none":
            hint = f"{name} is cut off from the graph: no detach(), .data, .item() or torch.no_grad() on the way"
        else:
            hint = "a part of it is cut off from the graph: no detach(), .data, .item() or torch.no_grad() on the way"
        raise CheckFailed(shown, came, hint, f"gradient of {what} by {name}", f"{what}: gradient {k}", mine)


def _shape(value: Any) -> Any:
    try:
        return _array(value).shape
    except NO_ARRAY:
        return None


def _array(value: Any) -> np.ndarray:
    if value.is_complex() if isinstance(value, Tensor) else np.iscomplexobj(value):
        raise TypeError("complex numbers")
    if isinstance(value, Tensor):
        value = value.detach().cpu().double().numpy()
    return np.asarray(value, dtype=np.float64)


def _general_cause(got: Any, expected: Any, rtol: float, atol: float) -> str:
    """What went wrong, as far as the two values alone tell."""
    if isinstance(expected, (str, bool)):
        return ""
    try:
        x, y = _array(got), _array(expected)
    except NO_ARRAY:
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
    ratio = x[pair] / y[pair]
    if ratio.size and abs(ratio.mean()) > atol and np.allclose(ratio, ratio.mean(), rtol=max(rtol, RTOL)):
        factor = float(ratio.mean())
        named = next((text for number, text in FACTORS.items() if math.isclose(factor, number, rel_tol=1e-3)), "")
        if named or x.size > 1:
            return named or f"everything is {factor:.6g} times what is expected"
    if x.size > 1 and np.allclose(x - y, (x - y).mean(), rtol=RTOL, atol=atol):
        return f"everything is off by {float((x - y).mean()):.6g}"
    return ""


def told(error: BaseException) -> str:
    """An error in one line."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text if len(text) < 160 else text[:157] + '…'}".removesuffix(": ")


def _learners_line(error: BaseException) -> tuple[str, bool]:
    """The line of the learner's code where an error happened, if it is known; and whether it was raised right there."""
    trace, line, last = error.__traceback__, "", False
    while trace is not None:
        code = trace.tb_frame.f_code
        last = not code.co_filename.startswith(LIBRARIES)
        if last:
            line = f"it happened in line {trace.tb_lineno} of {code.co_name}"
        trace = trace.tb_next
    return line, last
