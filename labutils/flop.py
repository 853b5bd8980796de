"""What a network costs: floating-point operations, counted while it runs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode


def count_flop(function: Callable[[], Any]) -> int:
    """Floating-point operations of the convolutions and matrix products in a call; a multiply-add counts 2.

    The gradients of a convolution cost what it does, each; torch's own formula (2.15) takes depthwise ones for dense.
    """

    def backward(grad: Any, x: Any, weight: Any, *args: Any, **kwargs: Any) -> int:
        transposed, wanted = args[4], args[7]  # wanted: the gradients of (x, weight, bias)
        return 2 * grad[0] * int(np.prod((x if transposed else grad)[2:]) * np.prod(weight)) * sum(wanted[:2])

    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution_backward: backward}) as counter:
        function()
    return counter.get_total_flops()
