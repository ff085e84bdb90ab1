"""Rounding of the mantissa, so that fields take less room."""

from typing import Final

import numpy as np
from numcodecs import BitRound
from numpy.typing import NDArray

MANTISSA_BITS: Final = 23


def rounded(values: NDArray[np.float32], keep_bits: int | None) -> NDArray[np.float32]:
    """Round to `keep_bits` bits of the mantissa, half to even: a relative error of at most 2^-(keep_bits + 1).

    None keeps all; values that are missing stay so.
    """
    if keep_bits is None or keep_bits >= MANTISSA_BITS:
        return values
    result: NDArray[np.float32] = BitRound(keep_bits).encode(values).view(np.float32)
    # Rounding the bits of a NaN may give infinity, or zero.
    result[np.isnan(values)] = np.nan
    return result
