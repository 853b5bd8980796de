"""One rule on types and ranges: for settings, flags, and what is read from a checkpoint.

A range is written as in mathematics: "[0, 1)" holds 0 and everything up to 1, but not 1.  NaN lies in none.
"""

import os
import types
import typing
from pathlib import PurePath
from typing import Any, Literal

from labutils.errors import LabError

ANY, POSITIVE, NOT_NEGATIVE = "(-1e12, 1e12)", "(0, 1e12)", "[0, 1e12)"  # what is larger is a mistake
PART, RATIO = "(0, 1]", "[0, 1]"


def check(name: str, value: Any, kind: Any, within: str = ANY) -> None:
    """Nothing where a value is of its declared type and in its range.

    Args:
        name: what the message calls it, such as "--lr".
        kind: a type, ``Literal[...]``, or one of them ``| None``.  A whole number may stand for a float; a text is a
            name or a path.

    Raises:
        LabError: it is not.
    """
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if typing.get_origin(kind) is Literal:
        choices = typing.get_args(kind)
        if not isinstance(value, str) or value not in choices:
            raise LabError(f"{name} is {_shown(value)}; choose one of {', '.join(choices)}")
        return
    if value is None and types.NoneType in kinds:
        return
    if type(value) not in kinds and not (float in kinds and type(value) is int):
        raise LabError(f"{name} is {_shown(value)}; it must be of type {kinds[0].__name__}")
    if isinstance(value, str):
        too_long = len(value) > 4000 or any(len(os.fsencode(part)) > 255 for part in PurePath(value).parts)
        if too_long or not value or "\0" in value:
            raise LabError(f"{name} is {_shown(value)}; it must be a path: not empty, not longer than a disk takes it")
    elif type(value) is not bool and (text := _outside(value, within)):
        raise LabError(f"{name} is {_shown(value)}; it must {text}")


def _outside(value: float, within: str) -> str:
    """What a number must be that does not lie in a range; "" where it does."""
    low, high = map(float, within[1:-1].split(","))
    above = value >= low if within[0] == "[" else value > low
    below = value <= high if within[-1] == "]" else value < high
    if above and below:
        return ""
    plain = {POSITIVE: "be greater than 0", NOT_NEGATIVE: "be at least 0"}
    return plain[within] if within in plain and not value >= high else f"lie in {within}"


def _shown(value: Any) -> str:
    """A value as a message shows it: one line of bearable length."""
    if type(value) is int and abs(value) > 10**30:
        return f"about 1e{value.bit_length() * 30103 // 100000}" if value > 0 else "below -1e30"
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text)} characters)"
