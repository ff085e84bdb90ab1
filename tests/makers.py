"""Small synthetic ERA5-like stores and runs: smooth, plausible, in file units, with WeatherBench 2 names.

A field depends on channel, time and place only, so the same date has the same weather however the store is laid out.
"""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
import yaml

from fuxi_ens.channels import STATIC_LAND_SEA_MASK, STATIC_OROGRAPHY, channel
from fuxi_ens.grid import LatLonGrid, Region

HEIGHT, WIDTH = 8, 16
CHANNELS = ("z500", "z850", "t850", "q850", "t2m", "sst", "u10m", "v10m", "msl", "tp")

_ROTATION = 7.2921e-5
_RADIUS = 6.371e6
_AIR_DENSITY = 1.2
_SOLAR = 1361.0

# Mean, excess of the equator over the poles, amplitude of the waves; file units.
_SURFACE = {
    "t2m": (276.0, 22.0, 6.0),
    "d2m": (270.0, 20.0, 5.0),
    "sst": (275.0, 23.0, 2.0),
}
# Share of the sunlight, as it is on the average of the globe.
_SUNLIGHT = {"ssr": 0.48, "ssrd": 0.55, "fdir": 0.3}
# Excess of pressure at the equator, amplitude of its waves; Pa.
_MSL = (100200.0, 1500.0, 2500.0)


def times(start, end, hours=6):
    """Times from `start` to `end`, both included, datetime64[ns]."""
    return pd.date_range(start, end, freq=f"{hours}h").to_numpy().astype("datetime64[ns]")


def _place(grid):
    """Latitude and longitude in radians, [latitude, 1] and [1, longitude]."""
    return np.deg2rad(grid.latitude)[:, None], np.deg2rad(grid.longitude)[None, :]


def _phases(name, when, grid):
    """Phases of two travelling waves of incommensurate periods, [time, 1, longitude]."""
    phase = sum(map(ord, name)) * 0.37
    hours = ((when - np.datetime64("2000-01-01")) / np.timedelta64(1, "h"))[:, None, None]
    _, east = _place(grid)
    return 2 * east - 2 * np.pi * hours / 61.0 + phase, east - 2 * np.pi * hours / 17.0 - phase


def _wave(name, when, grid):
    """Between -1 and 1, [time, latitude, longitude], zero at the poles."""
    long, short = _phases(name, when, grid)
    return np.cos(_place(grid)[0]) ** 2 * (0.6 * np.cos(long) + 0.4 * np.cos(short))


def _geostrophic_wind(component, name, scale, when, grid):
    """The wind around mean + excess * cos(lat)**2 + amplitude * wave, weak in the tropics."""
    excess, amplitude = scale
    north, _ = _place(grid)
    long, short = _phases(name, when, grid)
    f = 2 * _ROTATION * np.sin(north)
    balance = f / (f**2 + (2 * _ROTATION * np.sin(np.deg2rad(8.0))) ** 2) / _RADIUS
    if component == "v":
        return -balance * amplitude * np.cos(north) * (1.2 * np.sin(long) + 0.4 * np.sin(short))
    slope = -2 * np.sin(north) * np.cos(north)
    return -balance * slope * (excess + amplitude * (0.6 * np.cos(long) + 0.4 * np.cos(short)))


def _upper(item, when, grid):
    sigma = item.level / 1000.0
    rising = 1.0 - 0.6 * sigma
    warm = np.cos(_place(grid)[0]) ** 2
    z = (9000.0 * rising, 4000.0 * rising)
    if item.variable.short in "uv":
        return _geostrophic_wind(item.variable.short, f"z{item.level}", z, when, grid)
    mean, excess, amplitude = {
        "z": (_standard_geopotential(item.level) - 2 * z[0] / 3, *z),
        "t": (max(288.0 * sigma**0.19, 216.0) - 18.0 * sigma, 28.0 * sigma, 5.0),
        "q": (1e-3 * sigma**3, 11e-3 * sigma**3, 1e-3 * sigma**3),
    }[item.variable.short]
    return mean + excess * warm + amplitude * _wave(item.name, when, grid)


def _standard_geopotential(level):
    """Geopotential in an atmosphere of constant lapse rate, isothermal above 226 hPa; m2 s-2."""
    below = 9.80665 * 288.15 / 6.5e-3 * (1 - (max(level, 226.32) / 1013.25) ** 0.190263)
    return below + 287.05 * 216.65 * np.log(226.32 / min(level, 226.32))


def _sunlight(name, when, grid):
    """J m-2 in the hour that ends at `when`, at an equinox."""
    north, east = _place(grid)
    hour = (when - when.astype("datetime64[D]")) / np.timedelta64(1, "h") - 0.5
    angle = east[None] + 2 * np.pi * (hour[:, None, None] - 12.0) / 24.0
    height = np.maximum(np.cos(north) * np.cos(angle), 0.0)
    return _SUNLIGHT[name] * _SOLAR * 3600.0 * height * (1.0 + 0.2 * _wave(name, when, grid))


def instant(name, when, grid):
    """One channel in file units, [time, latitude, longitude] float64; of an accumulation, the hour that ends then."""
    item, when = channel(name), np.asarray(when)
    if item.level is not None:
        return _upper(item, when, grid)
    if name in _SUNLIGHT:
        return _sunlight(name, when, grid)
    if name == "msl":
        mean, excess, amplitude = _MSL
    elif name[0] in "uv":
        strength = 0.8 if name.endswith("100m") else 0.6
        scale = (_MSL[1] / _AIR_DENSITY, _MSL[2] / _AIR_DENSITY)
        return strength * _geostrophic_wind(name[0], "msl", scale, when, grid)
    elif name == "ttr":
        mean, excess, amplitude = -7.6e5, -1.5e5, 1e5
    elif name == "tp":
        mean, excess, amplitude = 1.2e-4, 0.0, 1.2e-4
    else:
        mean, excess, amplitude = _SURFACE[name]
    return mean + excess * np.cos(_place(grid)[0]) ** 2 + amplitude * _wave(name, when, grid)


def six_hour_sum(name, when, grid):
    """The sum over the six hours that end at `when`, hour by hour."""
    return sum(instant(name, np.asarray(when) - np.timedelta64(k, "h"), grid) for k in range(6))


_LAND = (
    Region(5, 75, 350, 140),
    Region(-35, 5, 10, 45),
    Region(10, 75, 230, 300),
    Region(60, 80, 300, 330),
    Region(-55, 10, 285, 322),
    Region(-40, -12, 115, 155),
    Region(-90, -68),
)


def land(grid):
    """Which points are land, [latitude, longitude]: boxes for the continents."""
    return np.any([box.mask(grid.latitude, grid.longitude) for box in _LAND], axis=0)


def static_dataset(grid):
    """Orography and land-sea mask: plains, and high Antarctica, Greenland and Tibet."""
    high = [Region(-90, -70), Region(28, 38, 75, 100), Region(65, 80, 312, 328)]
    height = np.where(np.any([box.mask(grid.latitude, grid.longitude) for box in high], axis=0), 3000.0, 300.0)
    dims = ("latitude", "longitude")
    return xr.Dataset(
        {
            STATIC_OROGRAPHY: (dims, np.where(land(grid), 9.80665 * height, 0.0).astype("f4")),
            STATIC_LAND_SEA_MASK: (dims, land(grid).astype("f4")),
        },
        coords={"latitude": grid.latitude, "longitude": grid.longitude},
    )


def analysis_dataset(channels=CHANNELS, when=None, height=HEIGHT, width=WIDTH, *, hourly=False, static=True):
    """An analysis in memory, [time, (level,) latitude, longitude], north to south, file units, float32.

    With `hourly`, accumulations are stored per hour and without the suffix `_6hr`.
    """
    grid = LatLonGrid(height, width)
    when = times("2018-01-01", "2018-01-03") if when is None else np.asarray(when)
    data = {}
    by_variable = {}
    for name in channels:
        by_variable.setdefault(channel(name).variable, []).append(channel(name))
    levels = sorted({channel(name).level for name in channels} - {None})
    for variable, members in by_variable.items():
        of = six_hour_sum if variable.accumulated and not hourly else instant
        stored_name = variable.name if hourly else variable.file_name
        if members[0].level is None:
            values = of(variable.short, when, grid)
            if variable.name == "sea_surface_temperature":
                values = np.where(land(grid), np.nan, values)
            data[stored_name] = (("time", "latitude", "longitude"), values.astype("f4"))
        else:
            values = np.stack([of(f"{variable.short}{level}", when, grid) for level in levels], axis=1)
            data[stored_name] = (("time", "level", "latitude", "longitude"), values.astype("f4"))
    coords = {"time": when, "latitude": grid.latitude, "longitude": grid.longitude}
    if levels:
        coords["level"] = np.array(levels, dtype=np.int64)
    dataset = xr.Dataset(data, coords)
    return dataset.merge(static_dataset(grid)) if static else dataset


def write_store(dataset, path, *, ascending=False, longitude_first=False, zarr_format=3, chunk=16):
    """Write a dataset as Zarr, south to north or longitude before latitude if asked. Returns the path as text."""
    if ascending:
        dataset = dataset.isel(latitude=slice(None, None, -1))
    if longitude_first:
        order = ("prediction_timedelta", "number", "time", "level", "longitude", "latitude")
        dataset = dataset.transpose(*(dim for dim in order if dim in dataset.dims))
    encoding = {}
    for name, array in dataset.data_vars.items():
        encoding[name] = {"chunks": tuple(min(chunk, n) if d == "time" else n for d, n in array.sizes.items())}
    if "prediction_timedelta" in dataset.dims:
        encoding["prediction_timedelta"] = {"units": "hours", "dtype": "int64"}
    dataset.to_zarr(path, mode="w", encoding=encoding, zarr_format=zarr_format, consolidated=zarr_format == 2)
    return str(path)


def make_analysis(
    path,
    *,
    channels=CHANNELS,
    when=None,
    height=HEIGHT,
    width=WIDTH,
    ascending=False,
    longitude_first=False,
    hourly=False,
    static=True,
    zarr_format=2,
):
    """Write an analysis store; returns what is in it, in canonical orientation."""
    dataset = analysis_dataset(channels, when, height, width, hourly=hourly, static=static)
    write_store(dataset, path, ascending=ascending, longitude_first=longitude_first, zarr_format=zarr_format)
    return dataset


def make_ensemble(path, *, channels, init_times, lead_times, members=3, height=HEIGHT, width=WIDTH, seed=0):
    """Write a forecast store of that layout: the truth plus noise that grows with the lead time."""
    rng = np.random.default_rng(seed)
    leads = np.asarray(lead_times).astype("timedelta64[ns]")
    valid = (np.asarray(init_times)[:, None] + leads[None]).ravel()
    truth = analysis_dataset(channels, np.unique(valid), height, width, static=False).sel(time=valid)
    spread = 0.1 + 0.1 * np.arange(len(leads))
    data, coords = {}, {"time": np.asarray(init_times), "number": np.arange(members), "prediction_timedelta": leads}
    for name, array in truth.data_vars.items():
        values = array.values.reshape(len(init_times), 1, len(leads), *array.shape[1:])
        shape = (len(init_times), members, *values.shape[2:])
        noise = rng.standard_normal(shape) * spread.reshape(-1, *[1] * (values.ndim - 3)) * np.nanstd(values)
        dims = ("time", "number", "prediction_timedelta", *array.dims[1:])
        data[name] = (dims, np.maximum(values + noise, 0.0 if values.min() >= 0 else -np.inf).astype("f4"))
    coords |= {dim: truth[dim].values for dim in ("level", "latitude", "longitude") if dim in truth.coords}
    dataset = xr.Dataset(data, coords)
    write_store(dataset, path, ascending=True, longitude_first=True, zarr_format=2)
    return dataset


TRAIN = ({"start": "2016-01-01", "end": "2016-01-06T18:00"}, {"start": "2016-02-01", "end": "2016-02-04T18:00"})
VALIDATION = ({"start": "2017-01-01", "end": "2017-01-04T18:00"},)
TEST = ({"start": "2018-01-01", "end": "2018-01-05T18:00"},)
SCORED = ("z500", "t850", "msl", "t2m", "ws10m", "tp")
WRITTEN = ("z500", "t850", "t2m", "u10m", "v10m", "msl", "tp")


def period_times(periods, hours=6):
    """All times of periods as they are written in a run file."""
    return np.concatenate([times(p["start"], p["end"], hours) for p in periods])


def run_values(folder):
    """A complete, tiny run below `folder`, as it would stand in a YAML file."""
    return {
        "run": {"name": "tiny", "folder": f"{folder}/run", "seed": 7, "threads": 1},
        "data": {
            "store": f"{folder}/analysis.zarr",
            "train": deepcopy([*TRAIN]),
            "validation": deepcopy([*VALIDATION]),
            "test": deepcopy([*TEST]),
        },
        "model": {
            "channels": list(CHANNELS),
            "height": HEIGHT,
            "width": WIDTH,
            "patch": 2,
            "embedding": 16,
            "heads": 2,
            "window": 4,
            "mlp_hidden": 32,
            "perturbation_layers": 1,
            "forecast_layers": 1,
            "blocks_per_layer": 2,
            "dropout": 0.0,
        },
        "train": {
            "precision": "float32",
            "validate_every": 2,
            "validation_init_times": 2,
            "checkpoint_every": 2,
            "log_every": 1,
            "stages": [
                {"name": "deterministic", "objective": "l1", "iterations": 2, "learning_rate": 1e-3},
                {"name": "ensemble", "objective": "crps_kl", "iterations": 2, "learning_rate": 1e-4, "members": 2},
            ],
        },
        "forecast": {
            "init_times": {"start": "2018-01-02", "end": "2018-01-02T12:00", "every_hours": 12},
            "members": 2,
            "steps": 4,
            "members_per_batch": 2,
            "leads_per_shard": 2,
            "channels": list(WRITTEN),
        },
        "verify": {
            "channels": list(SCORED),
            "regions": ["global", "tropics"],
            "baseline": f"{folder}/baseline.zarr",
            "baseline_name": "theirs",
            "climatology": {"periods": deepcopy([*TRAIN]), "window_days": 2, "stride_days": 1},
        },
        "report": {
            "title": "Tiny",
            "place": {"name": "Somewhere", "latitude": 50.0, "longitude": 5.0},
            "map_channels": ["z500"],
            "plume_channels": ["z500", "t2m"],
            "map_lead_hours": 24,
        },
    }


def set_value(values, key, value):
    """Set `a.b.0.c` in nested mappings and lists, in place; returns `values`."""
    *parents, last = key.split(".")
    node = values
    for part in parents:
        node = node[int(part) if isinstance(node, list) else part]
    node[int(last) if isinstance(node, list) else last] = value
    return values


def write_run_file(folder, values=None):
    """Write a run file below `folder`; returns its path."""
    path = Path(folder) / "run.yaml"
    path.write_text(yaml.safe_dump(run_values(folder) if values is None else values, sort_keys=False))
    return path


def make_run(folder):
    """Stores and run file of a complete tiny run; returns the path of the run file."""
    when = period_times([*TRAIN, *VALIDATION, *TEST])
    make_analysis(f"{folder}/analysis.zarr", when=when)
    init_times = times("2018-01-02", "2018-01-02T12", 12)
    leads = np.arange(1, 5) * np.timedelta64(6, "h")
    make_ensemble(f"{folder}/baseline.zarr", channels=WRITTEN, init_times=init_times, lead_times=leads)
    return write_run_file(folder)
