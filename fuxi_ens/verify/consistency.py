"""How far from the diagonal a reliable forecast would lie by chance, from the scatter of init times.

Grid points and neighboring init times depend on each other, so that the bars of Broecker and Smith (2007), which draw
each case apart, would be far too narrow: init times are the sample here, with the AR(2) inflation of `significance`.
"""

import numpy as np
import xarray as xr
from scipy.stats import t as student

from fuxi_ens.grid import Float
from fuxi_ens.verify import significance
from fuxi_ens.verify.events import COUNT, Tables, class_index


def consistency(tables: Tables, classes: int, level: float) -> xr.DataArray:
    """Half the bar of coverage 1 - `level` about the diagonal, [..., probability_class], reduces `init_time`.

    `tables` are of single init times, [init_time, ..., count], NaN outside of the sample. What the deviations of init
    times tell of the error of (observed frequency - forecast probability), a ratio of sums, to first order. NaN for
    few or irregular init times, and for classes without variation.
    """
    positions = significance.regular_positions(tables.forecasts["init_time"].to_numpy())
    forecasts, expected, occurred = (
        _by_class(part, classes)
        for part in (tables.forecasts, tables.forecasts * tables.probability, tables.occurrences)
    )
    total = forecasts.sum("init_time")
    excess = occurred - expected
    ratio = excess.sum("init_time") / total.where(total > 0)
    series = (excess - ratio * forecasts) / forecasts.mean("init_time").where(total > 0)
    half = np.full(series.shape[1:], np.nan) if positions is None else _half(series.to_numpy(), positions, level)
    return ratio.copy(data=half)


def _half(series: Float, positions: significance.Positions, level: float) -> Float:
    flat = np.ascontiguousarray(series.reshape(len(series), -1))
    test = significance.ar2_test(flat, positions)
    half: Float = student.isf(level / 2, test.freedom) * test.error
    return half.reshape(series.shape[1:])


def _by_class(table: xr.DataArray, classes: int) -> xr.DataArray:
    """Sums of the counts in each class of probability, [init_time, ..., probability_class]."""
    index = class_index(table.sizes[COUNT] - 1, classes)
    last = table.transpose("init_time", ..., COUNT)
    sums = np.stack([last.to_numpy()[..., index == number].sum(axis=-1) for number in range(classes)], axis=-1)
    coords = {dim: last.coords[dim] for dim in last.dims[:-1] if dim in last.coords}
    return xr.DataArray(
        sums, {**coords, "probability_class": np.arange(classes)}, (*last.dims[:-1], "probability_class")
    )
