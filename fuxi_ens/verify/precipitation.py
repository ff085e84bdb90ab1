"""The score SEEPS of precipitation (verification.md 12.2), on named dimensions."""

from typing import Final

import numpy as np
import xarray as xr

_DRIEST, _WETTEST = 0.85, 0.1
"""Bounds of the dry probability: beyond them a category is too rare to be scored."""
DRY_6H_MM: Final = 0.1
DRY_24H_MM: Final = 0.25
"""Amounts that still count as dry, after WeatherBench 2 and Haiden et al. 2012."""


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
    p = dry_probability.where((dry_probability >= _WETTEST) & (dry_probability <= _DRIEST))
    p = p.where(heavy_amount > dry_amount)
    said, was = (_category(values, heavy_amount, dry_amount) for values in (forecast, truth))
    matrix = (
        (0.0 * p, 1 / (1 - p), 4 / (1 - p)),
        (1 / p, 0.0 * p, 3 / (1 - p)),
        (1 / p + 3 / (2 + p), 3 / (2 + p), 0.0 * p),
    )
    result = xr.zeros_like(said * was * p)
    for i, row in enumerate(matrix):
        for j, penalty in enumerate(row):
            result = result + ((said == i) & (was == j)) * (0.5 * penalty)
    known = forecast.notnull() & truth.notnull() & p.notnull()
    return result.where(known).rename("seeps")


def _category(values: xr.DataArray, heavy_amount: xr.DataArray, dry_amount: float) -> xr.DataArray:
    """0 dry, 1 light, 2 heavy; for a heavy amount that is not dry."""
    return (values > dry_amount).astype(np.int8) + (values >= heavy_amount).astype(np.int8)
