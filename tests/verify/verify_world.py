"""A small world: analysis, forecast and baseline on 8 x 16 points, three Januaries, written as Zarr."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from fuxi_ens.config import Config
from fuxi_ens.grid import LatLonGrid

GRID = LatLonGrid(8, 16)
VARIABLES = ("geopotential", "10m_u_component_of_wind", "10m_v_component_of_wind", "sea_surface_temperature")
INIT_TIMES = pd.date_range("2019-01-10", periods=3, freq="12h")
PROVENANCE = {"config_hash": "abc123abc123", "fuxi_ens_version": "0"}


def hours(*counts):
    return np.array(counts, dtype="timedelta64[h]").astype("timedelta64[ns]")


def make_analysis(rng):
    """Dataset [time, (level,) latitude, longitude] of Januaries 2017-2019; sea temperature has NaN."""
    times = np.concatenate([pd.date_range(f"{year}-01-01", f"{year}-01-31", freq="6h") for year in (2017, 2018, 2019)])
    data = _fields(rng, {"time": times.astype("datetime64[ns]")})
    land = xr.DataArray(np.arange(8 * 16).reshape(8, 16) % 3 == 0, dims=("latitude", "longitude"))
    data["sea_surface_temperature"] = data["sea_surface_temperature"].where(~land)
    return data


def make_forecast(rng, members, leads, init_times=INIT_TIMES):
    """Dataset [time, number, prediction_timedelta, (level,) latitude, longitude]."""
    dims = {"time": init_times.to_numpy().astype("datetime64[ns]"), "number": np.arange(members)}
    return _fields(rng, {**dims, "prediction_timedelta": leads})


def _fields(rng, dims):
    shape = [len(values) for values in dims.values()]
    coordinates = {**dims, "level": [500, 850], "latitude": GRID.latitude, "longitude": GRID.longitude}
    horizontal = ("latitude", "longitude")
    data = {name: ((*dims, *horizontal), rng.standard_normal((*shape, 8, 16)).astype("f4")) for name in VARIABLES}
    upper = (5.5e4 + 50 * rng.standard_normal((*shape, 2, 8, 16))).astype("f4")
    data["geopotential"] = ((*dims, "level", *horizontal), upper)
    return xr.Dataset(data, coordinates)


def weatherbench_order(data):
    """The same data, south to north, longitude before latitude, lead time before member."""
    order = [dim for dim in ("prediction_timedelta", "number", "time", "level", "longitude") if dim in data.dims]
    return data.isel(latitude=slice(None, None, -1)).transpose(*order, "latitude")


def write(data, path):
    encoding = {"prediction_timedelta": {"units": "hours", "dtype": "int64"}} if "number" in data.dims else {}
    data.to_zarr(path, mode="w", encoding=encoding, zarr_format=2, consolidated=True)
    return str(path)


def make_config(folder, **verify):
    period = {"start": "2019-01-05", "end": "2019-01-31"}
    before = [{"start": "2017-01-01", "end": "2018-12-31"}]
    return Config.model_validate(
        {
            "run": {"name": "ours", "folder": str(folder), "threads": 2},
            "data": {
                "store": f"{folder}/truth.zarr",
                "train": [{"start": "2016-01-01", "end": "2016-12-31"}],
                "validation": [{"start": "2015-01-01", "end": "2015-12-31"}],
                "test": [period],
            },
            "model": {
                "channels": ["z500", "sst", "u10m", "v10m"],
                "height": 8,
                "width": 16,
                "patch": 4,
                "embedding": 8,
                "heads": 2,
                "window": 2,
            },
            "train": {"stages": [{"name": "a", "objective": "l1", "iterations": 1, "learning_rate": 1e-3}]},
            "forecast": {
                "channels": ["z500", "sst", "u10m", "v10m"],
                "init_times": {"start": "2019-01-10", "end": "2019-01-11", "every_hours": 12},
            },
            "verify": {
                "channels": ["z500", "ws10m", "sst"],
                "regions": ["global", "tropics", "europe"],
                "baseline": f"{folder}/baseline.zarr",
                "forecast_name": "ours",
                "baseline_name": "theirs",
                "climatology": {"periods": before, "window_days": 10, "stride_days": 5},
                **verify,
            },
        }
    )


@dataclass
class World:
    """Stores on disk beside the data they were written from."""

    folder: Path
    truth: xr.Dataset
    forecast: xr.Dataset
    baseline: xr.Dataset

    @property
    def forecast_store(self):
        return f"{self.folder}/forecast.zarr"

    def save(self):
        write(self.truth, self.folder / "truth.zarr")
        write(self.forecast, self.folder / "forecast.zarr")
        write(weatherbench_order(self.baseline), self.folder / "baseline.zarr")
        return self

    def config(self, **verify):
        return make_config(self.folder, **verify)
