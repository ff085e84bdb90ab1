"""Scores of the wind vector (verification.md 12); u and v in m/s, members along `number`."""

from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fuxi_ens.verify.compiled import compiled
from fuxi_ens.verify.scores import MEMBER, error_of_mean

Vector = tuple[xr.DataArray, xr.DataArray]
"""The components u and v"""


def squared_vector_error_of_mean(forecast: Vector, truth: Vector) -> xr.DataArray:
    """Squared length of the error of the mean wind, reduces `number`, m^2/s^2; NaN in, NaN out.

    The vector RMSE is the root of its average, taken last.
    """
    u, v = (error_of_mean(x, y) for x, y in zip(forecast, truth, strict=True))
    return (u**2 + v**2).rename("squared_vector_error_of_mean")


def vector_variance(forecast: Vector) -> xr.DataArray:
    """Variance of u plus variance of v, divisor M - 1, reduces `number`, m^2/s^2; NaN for one member."""
    if forecast[0].sizes[MEMBER] < 2:
        return forecast[0].isel({MEMBER: 0}, drop=True) * np.nan
    u, v = ((x - x.isel({MEMBER: 0}, drop=True)).var(MEMBER, ddof=1, skipna=False) for x in forecast)
    return (u + v).rename("vector_variance")


def vector_crps(forecast: Vector, truth: Vector, estimator: Literal["fair", "standard"] = "fair") -> xr.DataArray:
    """Energy score of the two components at each point, reduces `number`, m/s; NaN in, NaN out.

    mean |x_i - y| - sum |x_i - x_j| / (2 M (M-1)), with M^2 for "standard", |.| the length of the vector: the CRPS if
    one component is always zero. Raises ValueError for the fair one of one member.
    """
    members = forecast[0].sizes[MEMBER]
    if members < 2 and estimator == "fair":
        raise ValueError(f"the fair score needs at least 2 members, got {members}; use estimator='standard'")
    xr.align(*forecast, *truth, join="exact", copy=False)
    error, difference = xr.apply_ufunc(
        vector_terms,
        *forecast,
        *truth,
        input_core_dims=[[MEMBER], [MEMBER], [], []],
        output_core_dims=[[], []],
        join="exact",
        dask="parallelized",
        output_dtypes=[np.float64, np.float64],
    )
    factor = 1.0 if estimator == "fair" else 1.0 - 1.0 / members
    result: xr.DataArray = error - factor * difference
    result.attrs = {"estimator": estimator, "members": members}
    return result.rename("vector_crps")


def vector_terms(
    u: NDArray[np.floating], v: NDArray[np.floating], true_u: NDArray[np.floating], true_v: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean |x_i - y|, and half the mean |x_i - x_j| over i != j (0 for one member); members along the last axis."""
    error, difference = np.empty(true_u.size), np.empty(true_u.size)
    members = u.shape[-1]
    flat_u, flat_v = u.reshape(-1, members), v.reshape(-1, members)
    _vector_terms(flat_u, flat_v, true_u.ravel(), true_v.ravel(), error, difference)
    return error.reshape(true_u.shape), difference.reshape(true_u.shape)


@compiled
def _vector_terms(u: Any, v: Any, true_u: Any, true_v: Any, error: Any, difference: Any) -> None:
    """Lengths have no order, so that all pairs are needed; no temporary is."""
    points, members = u.shape
    for p in range(points):
        near, apart = 0.0, 0.0
        for i in range(members):
            du, dv = np.float64(u[p, i]) - true_u[p], np.float64(v[p, i]) - true_v[p]
            near += np.sqrt(du * du + dv * dv)
            for j in range(i):
                du, dv = np.float64(u[p, i]) - u[p, j], np.float64(v[p, i]) - v[p, j]
                apart += np.sqrt(du * du + dv * dv)
        error[p] = near / members
        difference[p] = apart / max(members * (members - 1), 1)
