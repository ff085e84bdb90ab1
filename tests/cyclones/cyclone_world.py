"""Vortices with a closed form, moving along great circles, and best tracks to go with them."""

import numpy as np
import pandas as pd
import xarray as xr
from makers import times

from fuxi_ens.config import Config, CycloneConfig
from fuxi_ens.verify.cyclones.sphere import RADIUS_KM, degrees, unit_vectors
from fuxi_ens.verify.cyclones.tracker import Surface

LATITUDE = np.linspace(90.0, -90.0, 121)
LONGITUDE = np.arange(240) * 1.5
RULES = CycloneConfig()
CHANNELS = ("z200", "z850", "u850", "v850", "u10m", "v10m", "msl")
INIT_TIMES = times("2018-09-14", "2018-09-14T12", 12)
LEADS = np.array([6, 12, 18, 24], "m8[h]").astype("m8[ns]")
RADIUS_OF_STORM = 350.0


def surface(land=0.0):
    return Surface(LATITUDE, LONGITUDE, np.full((121, 240), land))


def along_great_circle(start, azimuth, distance_km):
    """Positions at distances from a start, in its initial direction; degrees."""
    north, east = np.deg2rad(start)
    here = unit_vectors(*np.float64(start))
    eastward = np.array([-np.sin(east), np.cos(east), 0.0])
    northward = np.array([-np.sin(north) * np.cos(east), -np.sin(north) * np.sin(east), np.cos(north)])
    turn = np.deg2rad(azimuth)
    ahead = np.cos(turn) * northward + np.sin(turn) * eastward
    angle = np.asarray(distance_km)[..., None] / RADIUS_KM
    return degrees(np.cos(angle) * here + np.sin(angle) * ahead)


def vortex(center, depth=3000.0, wind=35.0, sense=None, warm=True):
    """Fields of a cyclone at `center`, by channel: Gaussian pressure, wind 35 m s-1 at 350 km, a warm core."""
    middle = unit_vectors(*np.float64(center))
    points = unit_vectors(LATITUDE[:, None], LONGITUDE[None, :])
    distance = RADIUS_KM * np.arccos(np.clip(points @ middle, -1, 1))
    share = distance / RADIUS_OF_STORM
    speed = wind * share * np.exp(0.5 * (1.0 - share**2)) * (np.sign(center[0]) if sense is None else sense)
    turning = np.cross(middle, points)
    length = np.linalg.norm(turning, axis=-1, keepdims=True)
    turning = np.divide(turning, length, out=np.zeros_like(turning), where=length > 1e-9) * speed[..., None]
    north, east = np.deg2rad(LATITUDE)[:, None], np.deg2rad(LONGITUDE)[None, :]
    u = -np.sin(east) * turning[..., 0] + np.cos(east) * turning[..., 1]
    v = -np.sin(north) * (np.cos(east) * turning[..., 0] + np.sin(east) * turning[..., 1])
    v = v + np.cos(north) * turning[..., 2]
    hill = np.exp(-(share**2))
    return {
        "msl": 101000.0 - depth * hill,
        "u850": u, "v850": v, "u10m": 0.7 * u, "v10m": 0.7 * v,
        "z850": 14500.0 - 200.0 * hill,
        "z200": 115000.0 + (1000.0 if warm else -1000.0) * hill,
    }  # fmt: skip


NAMES = {
    "msl": "mean_sea_level_pressure", "u850": "u_component_of_wind", "v850": "v_component_of_wind",
    "u10m": "10m_u_component_of_wind", "v10m": "10m_v_component_of_wind", "z": "geopotential",
}  # fmt: skip


def dataset(fields, dims):
    """A dataset in WeatherBench 2's names from arrays by channel, [*dims, latitude, longitude]."""
    shape = [len(values) for values in dims.values()]
    horizontal = ("latitude", "longitude")
    arrays = {name: np.asarray(part, "f4").reshape(*shape, 121, 240) for name, part in fields.items()}
    surface_ = {NAMES[n]: ((*dims, *horizontal), arrays[n]) for n in ("msl", "u10m", "v10m")}
    empty = np.full_like(arrays["u850"], np.nan)
    levels = {
        "geopotential": [arrays["z200"], arrays["z850"]],
        NAMES["u850"]: [empty, arrays["u850"]],
        NAMES["v850"]: [empty, arrays["v850"]],
    }
    upper = {n: ((*dims, "level", *horizontal), np.stack(parts, axis=len(dims))) for n, parts in levels.items()}
    return xr.Dataset(surface_ | upper, {**dims, "level": [200, 850], "latitude": LATITUDE, "longitude": LONGITUDE})


def stacked(positions):
    """Vortex fields at all positions (latitude, longitude) [...], flat, by channel."""
    every = [vortex(at) for at in zip(*(np.ravel(part) for part in positions), strict=True)]
    return {name: np.stack([fields[name] for fields in every]) for name in CHANNELS}


def write_best_tracks(path, storm="2018250N12170", name="NAMELESS", rows=()):
    """An excerpt in the columns of IBTrACS, with its row of units."""
    lines = ["SID,SEASON,BASIN,NAME,ISO_TIME,LAT,LON,TRACK_TYPE", " ,Year, , , ,degrees_north,degrees_east, "]
    lines += [f"{storm},2018,NA,{name},{pd.Timestamp(t):%Y-%m-%d %H:%M:%S},{a},{o},main" for t, a, o in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def make_config(folder, **cyclones):
    return Config.model_validate(
        {
            "run": {"name": "ours", "folder": str(folder), "threads": 1},
            "data": {
                "store": f"{folder}/truth.zarr",
                "train": [{"start": "2010-01-01", "end": "2010-12-31"}],
                "validation": [{"start": "2011-01-01", "end": "2011-12-31"}],
                "test": [{"start": "2018-09-01", "end": "2018-09-30"}],
            },
            "model": {
                "channels": ["z200", "z850", "u850", "v850", "u10m", "v10m", "msl"],
                "height": 121, "width": 240, "patch": 2, "embedding": 8, "heads": 2, "window": 10,
            },
            "train": {"stages": [{"name": "a", "objective": "l1", "iterations": 1, "learning_rate": 1e-3}]},
            "forecast": {
                "channels": list(CHANNELS), "steps": 4, "members": 3,
                "init_times": {"start": "2018-09-14", "end": "2018-09-14T12:00", "every_hours": 12},
            },
            "verify": {
                "channels": ["msl"], "baseline": f"{folder}/baseline.zarr", "baseline_name": "theirs",
                "forecast_name": "ours", "climatology": {"periods": [{"start": "2010-01-01", "end": "2010-12-31"}]},
            },
            "events": {"cyclones": {"best_tracks": f"{folder}/ibtracs.csv", **cyclones}},
        }
    )  # fmt: skip
