"""Sums over 24 h made of the 6 h sums that stores hold (verification.md 12.1): of which times, and how.

Names without a sum pass through: they are made of the one field at their time.
"""

import operator
from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Final, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fuxi_ens.channels import ACCUMULATION_HOURS, PRECIPITATION, SUMS_24H
from fuxi_ens.errors import StoreError
from fuxi_ens.times import Leads, Times, hours

_SPAN_HOURS: Final = 24

Axis = TypeVar("Axis", Times, Leads)
Array = TypeVar("Array", NDArray[np.float32], xr.DataArray)


def parts_of(name: str, times: Axis) -> list[Axis]:
    """Where the 6 h sums end that make up a scored name at `times` or lead times, newest first."""
    if name not in SUMS_24H:
        return [times]
    parts: list[Axis] = [times - hours(back) for back in range(0, _SPAN_HOURS, ACCUMULATION_HOURS)]
    return parts


def whole(name: str, times: Axis, available: Axis) -> NDArray[np.bool_]:
    """At which of `times` or lead times all parts are among those `available`, [time]."""
    found = [np.isin(part, available) for part in parts_of(name, times)]
    return np.asarray(np.logical_and.reduce(found))


def require_whole(names: Sequence[str], lead_times: Leads, source: str) -> None:
    """Raise StoreError for a sum that is whole at none of the `lead_times` after 0."""
    leads = lead_times[lead_times > np.timedelta64(0)]
    for name in names:
        if not whole(name, leads, leads).any():
            found = [f"{lead / np.timedelta64(1, 'h'):g}" for lead in leads]
            raise StoreError(
                f"{source} holds no four lead times 6 h apart, of which {name} would be the sum; it has "
                f"{', '.join(found)} h; take {name} out of verify.channels"
            )


def summed(name: str, parts: Iterable[Array]) -> Array:
    """Sum of the parts in order; `parts` have equal coordinates. A single part comes back as it is."""
    total: Array = reduce(operator.add, parts)
    return total.clip(0) if cannot_be_negative(name) else total


def cannot_be_negative(name: str) -> bool:
    """Packing leaves small negative amounts of precipitation, which are part of a sum and no part of a result."""
    return name in SUMS_24H and name in PRECIPITATION
