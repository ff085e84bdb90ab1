"""Which operation runs in which type. The meta device, which only counts, knows no autocast."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def product_type(x: Tensor) -> torch.dtype:
    """Type of matrix products with `x`: the autocast type where there is one."""
    device = x.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return x.dtype


def attention_type(x: Tensor) -> torch.dtype:
    """That of matrix products, but at least float32 on a CPU, whose fused bfloat16 kernel is slow backwards.

    Kernels keep the statistics of the softmax in float32 either way.
    """
    return torch.promote_types(x.dtype, torch.float32) if x.device.type == "cpu" else product_type(x)


def no_autocast(x: Tensor) -> AbstractContextManager[object]:
    """Within it, operations on the device of `x` keep the types of their operands."""
    device = x.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()
