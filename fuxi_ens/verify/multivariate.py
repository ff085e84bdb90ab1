"""Scores of maps as wholes: energy score and variogram score (verification.md 11.2, 11.3). Members lie first."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fuxi_ens.grid import Float
from fuxi_ens.verify.areas import Areas
from fuxi_ens.verify.compiled import compiled

LAGS: Final = (1, 2, 4, 8)
"""Distances in cells between the points whose differences the variogram score compares."""


def energy_scores(
    ensemble: NDArray[np.floating], truth: NDArray[np.floating], areas: Areas, valid: NDArray[np.bool_]
) -> tuple[Float, Float]:
    """Fair and standard energy score of one map in each region, [region], in the units of the forecast.

    mean |x_i - y| - sum |x_i - x_j| / (2 M (M-1)), with M^2 for standard, where |.| is the root of the area mean of the
    squared differences at the `valid` points: the CRPS for a region of one point. `ensemble` is [number, latitude,
    longitude]. The fair one is NaN for one member, both are for a region without valid points or with NaN in them.
    """
    members = len(ensemble)
    # The truth is the last of all, so that its pairs are the last ones.
    by_row = np.zeros((len(areas.columns), len(valid), members * (members + 1) // 2))
    for row, known in enumerate(valid):
        fields = np.concatenate([ensemble[:, row], truth[row][None]]).T
        _pair_squares(np.ascontiguousarray(fields), areas.columns & known, by_row[:, row])
    weight = areas.weight(valid)[:, None]
    distance = np.sqrt(areas.of_rows(by_row) / np.where(weight > 0, weight, np.nan))
    pairs = members * (members - 1) // 2
    error, apart = distance[:, pairs:].mean(axis=1), distance[:, :pairs].sum(axis=1)
    fair = error - apart / pairs / 2 if members > 1 else np.full_like(error, np.nan)
    return fair, error - apart / members**2


def variogram_scores(ensemble: NDArray[np.floating], truth: NDArray[np.floating]) -> tuple[Float, Float]:
    """Fair and standard variogram score of order 1/2 per point, [latitude, longitude], in the units of the forecast.

    Sum over the points j that lie `LAGS` cells to the east (around the globe) and to the south (where there are) of
    (mean_k |x_ki - x_kj|^(1/2) - |y_i - y_j|^(1/2))^2 / lag; the fair one subtracts the variance over k / M, and is NaN
    for one member. Pairs without a truth at either point are left out; NaN in a member of any other pair gives NaN.
    """
    height, width = truth.shape
    both = np.zeros((2, height, width))
    for row in range(height):
        here = ensemble[:, row], truth[row]
        for lag in LAGS:
            if lag < width:
                both[:, row] += _roots(here, [np.roll(part, -lag, axis=-1) for part in here]) / lag
            if row + lag < height:
                both[:, row] += _roots(here, [ensemble[:, row + lag], truth[row + lag]]) / lag
    return both[0], both[1]


def _roots(here: Any, there: Any) -> Float:
    """Squared differences of the roots of increments, fair and standard, [2, longitude]."""
    forecast, observed = (
        np.sqrt(np.abs(np.subtract(a, b, dtype=np.float64))) for a, b in zip(here, there, strict=True)
    )
    members = len(forecast)
    standard = (forecast.mean(axis=0) - observed) ** 2
    spread = forecast.var(axis=0, ddof=1) / members if members > 1 else np.nan
    return np.where(np.isnan(observed), 0.0, np.stack([standard - spread, standard]))


@compiled
def _pair_squares(fields: Any, chosen: Any, out: Any) -> None:
    """Add to out[set, pair] the squared differences of `fields` [longitude, number] at the chosen columns."""
    points, count = fields.shape
    for s in range(len(chosen)):
        for p in range(points):
            if chosen[s, p]:
                pair = 0
                for i in range(count):
                    for k in range(i):
                        difference = np.float64(fields[p, i]) - np.float64(fields[p, k])
                        out[s, pair] += difference * difference
                        pair += 1
