"""The checks themselves, tested: every small change of a reference solution is refused, or stands on a short list."""

import re
import warnings
from dataclasses import dataclass, field
from functools import cache

import pytest
from exercises import answered, cell
from mutants import CHANGE, Mutant, mutants

from labutils.checks import EXERCISES, NotDone

pytestmark = pytest.mark.slow
EQUIVALENT = [  # exercises, rule, what the change looks like, why it is right as well
    ("0.1 1.1 1.5 6.1 7.1", "clamp added", "", "these images are in [0, 1]"),
    ("1.1", "dropped call", "channels_first.float() -> channels_first", "torch divides uint8 to float32"),
    ("1.2 7.2", "swapped values", "", "a mean over the same axes"),
    ("1.2 7.2", "swapped operands", "clamp(0, 1) - t", "the difference is squared"),
    ("4.3", "swapped operands", "r - mu @ W.T ->", "the difference is squared"),
    ("6.2", "swapped operands", "prediction - x ->", "the difference is squared, or its absolute value taken"),
    ("10.1", "swapped operands", "mu_q - mu_p ->", "the difference is squared"),
    ("1.3", "dropped argument", "(0, places, ", "0 is where randint begins anyway"),
    ("1.4", "swapped arguments", "metrics.psnr(copies, truth) ->", "the error is symmetric, and both are in [0, 1]"),
    ("1.5", "swapped axes", "~^self.frames$", "len(frames): the first axis stays where it is"),
    ("2.8 2.9", "clamp added", "", "a frame of the generator is in [0, 1]"),
    ("2.8", "in place", "x is changed", "x is another tensor by then"),
    ("2.9", "seed ignored", "eps", "there it is only compared with None"),
    ("2.9", "detach", "~^mu$", "randn_like asks for the shape"),
    ("3.4", "another argument", "mu -> ", "ones_like asks for the shape, which all three share"),
    ("4.1 4.2", "swapped axes", r"~cov\)?$|precision|eye|inv|W @ W|W\.T @ W", "a symmetric matrix"),
    ("4.1 4.2", "dropped dtype", "eye", "the ones and zeros become float64 in the sum"),
    ("4.1", "another argument", r"~b -> [WU]$", "len(b): W and U have as many rows"),
    ("4.1 4.2", "another argument", "~^x -> ", "x.dtype: all are float64"),
    ("6.2 7.2 10.1", "swapped axes", " - ", "mean or sum over all axes follows"),
    ("6.3", "another argument", "frames -> labels", "frames.shape[1]: there are as many labels"),
    ("6.3", "another slice", "teacher[:, None, t - 1, None, None]", "the same axes"),
    ("6.5", "dropped dim", "stack", "the mean over both axes follows"),
    ("6.5", "swapped axes", "~stack|^kl$", "the mean over both axes follows"),
    ("6.5", "off by one", "~^1 -> 0$", "the axis of stack: the mean over both follows"),
    ("6.5", "swapped arguments", "frames[:, 1:], prediction, kl", "the error is squared, or its absolute value taken"),
    ("6.5", "swapped arguments", "kl, weight, beta", "their product counts"),
    ("6.5", "swapped operands", "prediction - ", "the difference is squared"),
    ("6.5", "detach", "prediction", "in the MSE, which is detached anyway"),
    ("6.6", "another argument", "optimizer -> model", "model.zero_grad(): the same gradients"),
    ("6.6", "swapped axes", "lerp_", "what lerp_ returns is not used"),
    ("6.6", "detach", "value", "there is no graph under no_grad"),
    ("7.5", "wrong dtype", "psnr", "the score is a number"),
    ("7.5", "numpy", "psnr", "the score is a number"),
    ("7.5", "off by one", "~^0 -> -1$", "a batch of one"),
    ("7.5", "swapped arguments", "psnr_per_frame", "the error is symmetric, and both are in [0, 1]"),
    ("7.1", "another argument", "labels -> frames", "labels.shape[1]: there are as many frames"),
    ("7.4 9.1 10.2", "dropped call", r"~^(int|float)\(", "a number of NumPy is a number"),
    ("8.4", "dropped call", "np.array([", "a list of numbers is as good as an array"),
    ("9.2", "float", "", "per cent may be a float"),
    ("9.3", "numpy", "", "a tensor or an array is asked for"),
    ("9.5", "dropped call", "np.stack(rows) -> rows", "a list of rows is as good as an array"),
    ("9.5", "off by one", "~^0 -> ", "frames[0].numel(): every frame has as many values"),
    ("10.3", "comparison", "<=", "a random number equals tfr with probability 0"),
    ("10.3", "another argument", "frames -> replay", "len(frames): replay is as long"),
    ("10.3", "swapped axes", "~^frames$", "len(frames): the first axis stays where it is"),
]


def is_like(mutant: Mutant, rule: str, change: str) -> bool:
    """Whether an entry of the list means this mutant; after a ~ stands a regular expression."""
    there = re.search(change[1:], mutant.change) if change[:1] == "~" else change in mutant.change
    return mutant.rule == rule and bool(there)


@dataclass
class Count:
    """What became of an exercise's mutants; ``raised`` are those of the refused that do not even run through."""

    made: int = 0
    refused: int = 0
    raised: int = 0
    equivalent: int = 0
    used: set[int] = field(default_factory=set)  # entries of the list
    passed: list[str] = field(default_factory=list)  # without being on the list


@cache
def count(number: str) -> Count:
    """Make an exercise's mutants, and let its check judge them on the inputs that a learner gets."""
    found = Count()
    for mutant in mutants(cell("answer", number).source):
        try:
            failure = EXERCISES[number].failure(answered(number, mutant.source, **{CHANGE: mutant.wrap}), seed=0)
            refused, raised = failure is not None, failure is not None and failure.expected.startswith("a result for")
        except NotDone:
            refused, raised = True, False
        if not mutant.wrap.applied:
            continue  # the same as the solution
        found.made += 1
        found.refused += refused
        found.raised += raised
        if not refused:
            at = [k for k, (numbers, *like, _) in enumerate(EQUIVALENT)
                  if number in numbers.split() and is_like(mutant, *like)]  # fmt: skip
            found.equivalent += bool(at)
            found.used |= set(at)
            found.passed += [] if at else [f"{mutant.rule}: {mutant.change}"]
    return found


def totals() -> dict[str, int]:
    """What became of all mutants: made, refused, raised (of the refused), equivalent."""
    names = ("made", "refused", "raised", "equivalent")
    return {name: sum(getattr(count(number), name) for number in EXERCISES) for name in names}


@pytest.mark.parametrize("number", EXERCISES)
def test_each_mutant_is_refused_or_equivalent(number):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = count(number)
    assert found.passed == []
    assert found.refused >= 1 and found.made == found.refused + found.equivalent


def test_the_list_of_equivalent_mutants_is_not_longer_than_needed():
    """With ``pytest -s`` it says how many mutants there were."""
    print(f"\nmutants of {len(EXERCISES)} solutions: {totals()}")
    assert set(range(len(EQUIVALENT))) == set().union(*(count(number).used for number in EXERCISES))
