"""Spectra of power and kinetic energy by spherical harmonics of the package ducc0 (verification.md 11.1).

Harmonics are 4 pi normalized: the powers of all degrees add up to the area mean of the squared field. Grids with both
poles are integrated by Clenshaw-Curtis, cell-centered ones by Fejer's first rule; both are exact for fields without
degrees above `highest_degree`, and fold what lies above into what is below.
"""

from collections.abc import Callable
from functools import cache
from types import ModuleType

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fuxi_ens.errors import UserError
from fuxi_ens.grid import Float

_HORIZONTAL = ["latitude", "longitude"]


def highest_degree(height: int, width: int) -> int:
    """719 for 721 x 1440, 119 for 121 x 240, 31 for 32 x 64: as much as rows and columns resolve."""
    return min(height - 2 if height % 2 else height - 1, (width - 1) // 2)


def power_spectrum(field: xr.DataArray) -> xr.DataArray:
    """Power by degree, reduces latitude and longitude to `degree`, units squared, float64; NaN if any point is.

    sum over m of C^2 + S^2, with 4 pi normalized harmonics. `field` covers the globe from north to south, on a grid of
    `grid.LatLonGrid`. Raises ValueError for other grids, UserError without ducc0. Dask input stays lazy.
    """
    _check(field)
    return _apply(powers, field)


def energy_spectrum(u: xr.DataArray, v: xr.DataArray) -> xr.DataArray:
    """Kinetic energy by degree, reduces latitude and longitude, m^2/s^2; like `power_spectrum`.

    a^2 / (2 l (l+1)) times the powers of vorticity and divergence. Vector harmonics give it without derivatives, and so
    with the metric terms and over the poles. Its sum is the area mean of (u^2 + v^2) / 2.
    """
    _check(u, v)
    return _apply(energies, u, v)


def powers(field: NDArray[np.floating]) -> Float:
    """Power by degree of one map [latitude, longitude], or NaN at all degrees."""
    degree = highest_degree(*field.shape)
    if not np.isfinite(field).all():
        return np.full(degree + 1, np.nan)
    return _sum_orders(_analysis(field[None], 0, degree))


def energies(u: NDArray[np.floating], v: NDArray[np.floating]) -> Float:
    """Kinetic energy by degree of one map of each component."""
    degree = highest_degree(*u.shape)
    wind = np.stack([-v, u])  # southward and eastward
    if not np.isfinite(wind).all():
        return np.full(degree + 1, np.nan)
    return 0.5 * _sum_orders(_analysis(wind, 1, degree))


def require_library() -> ModuleType:
    """The package ducc0. Raises UserError if it is not installed."""
    try:
        import ducc0
    except ImportError as error:
        raise UserError(
            f"spectra need the package ducc0 ({error}); run `pip install 'fuxi-ens[spectra]'`, or take 'spectra' out "
            "of verify.scores"
        ) from error
    module: ModuleType = ducc0
    return module


def _analysis(maps: NDArray[np.floating], spin: int, degree: int) -> NDArray[np.complex128]:
    """Orthonormal coefficients, [component, index]."""
    geometry = "CC" if maps.shape[1] % 2 else "F1"
    coefficients: NDArray[np.complex128] = require_library().sht.analysis_2d(
        map=np.ascontiguousarray(maps, dtype=np.float64), spin=spin, lmax=degree, geometry=geometry, nthreads=1
    )
    return coefficients


def _sum_orders(coefficients: NDArray[np.complex128]) -> Float:
    """Power by degree: orders m > 0 stand for -m too, and 4 pi makes an area mean of an integral."""
    size = coefficients.shape[-1]
    degree = int(np.sqrt(2 * size)) - 1
    degrees, factor = _layout(degree)
    square = (coefficients.real**2 + coefficients.imag**2).sum(axis=0)
    return np.bincount(degrees, square * factor, degree + 1) / (4 * np.pi)


@cache
def _layout(degree: int) -> tuple[NDArray[np.intp], Float]:
    """Degree, and how often it counts, of each coefficient: m = 0 with l = 0.., m = 1 with l = 1.., ..."""
    degrees = np.concatenate([np.arange(m, degree + 1) for m in range(degree + 1)])
    return degrees, np.where(np.arange(degrees.size) <= degree, 1.0, 2.0)


def _apply(spectrum: Callable[..., Float], *fields: xr.DataArray) -> xr.DataArray:
    degree = highest_degree(fields[0].sizes["latitude"], fields[0].sizes["longitude"])
    result: xr.DataArray = xr.apply_ufunc(
        spectrum,
        *fields,
        input_core_dims=[_HORIZONTAL] * len(fields),
        output_core_dims=[["degree"]],
        join="exact",
        vectorize=True,
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": {"degree": degree + 1}},
    )
    return result.assign_coords(degree=np.arange(degree + 1))


def _check(*fields: xr.DataArray) -> None:
    """Raises ValueError for grids whose rows are not those of the quadrature."""
    for field in fields:
        latitude = field["latitude"].to_numpy()
        height = latitude.size
        half = 0.0 if height % 2 else 90.0 / height
        expected = np.linspace(90.0 - half, -90.0 + half, height)
        if not np.allclose(latitude, expected, atol=1e-3):
            raise ValueError(
                f"spectra need latitudes from north to south with both poles, or cell centers between them: expected "
                f"{height} rows from {expected[0]:g} to {expected[-1]:g}, got {latitude[0]:g} to {latitude[-1]:g}"
            )
