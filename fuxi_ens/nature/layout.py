"""Names, units and dimension order of the products: those of the WeatherBench 2 64x32 stores.

Latitude ascends from -87.1875, longitude from 0; levels are int32 hPa; the time of a precipitation
total is the end of its 6 hours.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import dask.array
import numpy as np
import xarray as xr
from zarr.codecs import BloscCodec

LEVELS_13 = (50, 100, 150, 200, 250, 300, 400, 500, 600, 700, 850, 925, 1000)
LATITUDES = -90.0 + 180.0 / 32 * (np.arange(32) + 0.5)
LONGITUDES = 360.0 / 64 * np.arange(64)
STEP_SIZE = np.timedelta64(6, "h")

UPPER_AIR = (
    "geopotential",
    "temperature",
    "u_component_of_wind",
    "v_component_of_wind",
    "specific_humidity",
)
SURFACE = (
    "2m_temperature",
    "mean_sea_level_pressure",
    "10m_u_component_of_wind",
    "10m_v_component_of_wind",
    "total_precipitation_6hr",
)
SEA_SURFACE = "sea_surface_temperature"
STATIC = ("land_sea_mask", "geopotential_at_surface")

# ECMWF's units strings, which the WeatherBench 2 stores carry, and its long and short names.
ATTRIBUTES = {
    name: {"units": units, "long_name": long_name, "short_name": short_name}
    for name, units, long_name, short_name in (
        ("geopotential", "m**2 s**-2", "Geopotential", "z"),
        ("temperature", "K", "Temperature", "t"),
        ("u_component_of_wind", "m s**-1", "U component of wind", "u"),
        ("v_component_of_wind", "m s**-1", "V component of wind", "v"),
        ("specific_humidity", "kg kg**-1", "Specific humidity", "q"),
        ("2m_temperature", "K", "2 metre temperature", "t2m"),
        ("mean_sea_level_pressure", "Pa", "Mean sea level pressure", "msl"),
        ("10m_u_component_of_wind", "m s**-1", "10 metre U wind component", "u10"),
        ("10m_v_component_of_wind", "m s**-1", "10 metre V wind component", "v10"),
        ("total_precipitation_6hr", "m", "Total precipitation of the past 6 hours", "tp6"),
        ("sea_surface_temperature", "K", "Sea surface temperature", "sst"),
        ("land_sea_mask", "(0 - 1)", "Land-sea mask", "lsm"),
        ("geopotential_at_surface", "m**2 s**-2", "Geopotential at the surface", "z"),
    )
}
COORDINATE_ATTRIBUTES = {
    "latitude": {"units": "degrees_north", "standard_name": "latitude"},
    "longitude": {"units": "degrees_east", "standard_name": "longitude"},
    "level": {"units": "hPa", "long_name": "pressure level"},
}


def dimensions(variable: str, leading: tuple[str, ...]) -> tuple[str, ...]:
    """Return the dimensions of `variable`, e.g. (time, level, longitude, latitude)."""
    if variable in STATIC:
        return ("longitude", "latitude")
    level = ("level",) if variable in UPPER_AIR else ()
    return (*leading, *level, "longitude", "latitude")


def grid_coordinates(levels: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Return the coordinates of the grid: level (hPa, int32), longitude and latitude (degrees)."""
    return {
        "level": np.asarray(levels, dtype=np.int32),
        "longitude": LONGITUDES,
        "latitude": LATITUDES,
    }


def with_attributes(dataset: xr.Dataset) -> xr.Dataset:
    """Return `dataset` with units and names on every variable and coordinate it has."""
    for name, attributes in (ATTRIBUTES | COORDINATE_ATTRIBUTES).items():
        if name in dataset.variables:
            dataset[name].attrs = dict(attributes)
    return dataset


def blosc() -> BloscCodec:
    """Return the one compressor of all stores: zstd after a shuffle of bits."""
    return BloscCodec(cname="zstd", clevel=7, shuffle="bitshuffle")


@contextmanager
def consolidating() -> Iterator[None]:
    """Silence zarr's note that consolidated metadata is an extension of format 3.

    Without consolidated metadata xarray warns at every opening; with it, zarr at every writing.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata", category=UserWarning)
        yield


def empty_store(
    coordinates: dict[str, np.ndarray], variables: tuple[str, ...], chunk: dict[str, int]
) -> tuple[xr.Dataset, dict[str, dict[str, object]]]:
    """Return a lazy float32 dataset of NaN and its encoding, to be filled region by region.

    Args:
        coordinates: leading coordinates (times, members, leads), then those of the grid.
        variables: names from `ATTRIBUTES`.
        chunk: chunk length along some dimensions; whole along all others.
    """
    sizes = {name: len(values) for name, values in coordinates.items()}
    leading = tuple(n for n in coordinates if n not in ("level", "longitude", "latitude"))
    data, encoding = {}, {}
    for name in variables:
        dims = dimensions(name, leading)
        shape = tuple(sizes[d] for d in dims)
        chunks = tuple(chunk.get(d, sizes[d]) for d in dims)
        nothing = dask.array.full(shape, np.nan, dtype=np.float32, chunks=chunks)
        data[name] = (dims, nothing)
        encoding[name] = {"chunks": chunks, "compressors": blosc(), "dtype": "float32"}
    return with_attributes(xr.Dataset(data, coords=coordinates)), encoding
