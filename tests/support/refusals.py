"""What is refused, and in which words."""

from collections.abc import Callable
from typing import Any

import pytest

from labutils.errors import LabError


def refuses(message: str, function: Callable, *args: Any, **options: Any) -> None:
    """A function answers its arguments with a LabError that matches the pattern ``message``."""
    with pytest.raises(LabError, match=message):
        function(*args, **options)
