"""The score SEEPS of precipitation (verification.md 12.2), on named dimensions."""

from typing import Any, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

_DRIEST, _WETTEST = 0.85, 0.1
"""Bounds of the dry probability: beyond them a category is too rare to be scored."""

Array = TypeVar("Array", NDArray[np.floating], xr.DataArray)


def penalties(p: Array) -> tuple[tuple[Array, ...], ...]:
    """Rows forecast, columns truth, of dry, light, heavy; `p` is the share of dry cases (Rodwell et al. 2010)."""
    none = 0.0 * p
    return (
        (none, 0.5 / (1 - p), 2.0 / (1 - p)),
        (0.5 / p, none, 1.5 / (1 - p)),
        (0.5 / p + 1.5 / (2 + p), 1.5 / (2 + p), none),
    )


def has_categories(dry_probability: Array, heavy_amount: Array, dry_amount: float | np.floating) -> Any:
    """Where a climate has three, as booleans: dry neither too rare nor too frequent, heavy not dry; not at NaN."""
    between = (dry_probability >= _WETTEST) & (dry_probability <= _DRIEST)
    return between & (heavy_amount > dry_amount)


def seeps(
    forecast: xr.DataArray,
    truth: xr.DataArray,
    dry_probability: xr.DataArray,
    heavy_amount: xr.DataArray,
    dry_amount: float,
) -> xr.DataArray:
    """Stable equitable error in probability space, elementwise; 0 is perfect, 1 any constant forecast (Rodwell 2010).

    Categories: dry up to `dry_amount`, heavy from `heavy_amount` (two thirds of the wet amounts of the climatology lie
    below), light between; each value has exactly one. `dry_probability` is the climatological share of dry cases. All
    amounts are in the units of the forecast. A score of single fields: give members for the score of each, or their
    mean, which drizzles and is penalized for that. NaN where an input is NaN, and where the dry probability is outside
    of 0.1..0.85 or the heavy amount is dry: points without three categories, to be masked for all systems alike.
    Raises ValueError for unequal coordinates.
    """
    xr.align(forecast, truth, dry_probability, heavy_amount, join="exact", copy=False)
    p = dry_probability.where(has_categories(dry_probability, heavy_amount, dry_amount))
    said, was = (_category(values, heavy_amount, dry_amount) for values in (forecast, truth))
    result = xr.zeros_like(said * was * p)
    for i, row in enumerate(penalties(p)):
        for j, penalty in enumerate(row):
            result = result + ((said == i) & (was == j)) * penalty
    known = forecast.notnull() & truth.notnull() & p.notnull()
    return result.where(known).rename("seeps")


def _category(values: xr.DataArray, heavy_amount: xr.DataArray, dry_amount: float) -> xr.DataArray:
    """0 dry, 1 light, 2 heavy; for a heavy amount that is not dry."""
    return (values > dry_amount).astype(np.int8) + (values >= heavy_amount).astype(np.int8)
