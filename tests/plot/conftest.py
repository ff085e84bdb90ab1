"""Invented but plausible scores and fields for the figures; the figures never see a real number here."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from fuxi_ens.channels import HEADLINE
from fuxi_ens.grid import LatLonGrid
from fuxi_ens.plot.compose import Evidence
from fuxi_ens.plot.fields import Case, Place
from fuxi_ens.plot.table import Scores, Systems
from fuxi_ens.times import hours, lead_times

BASELINE = "physics_ensemble"
# Error of climatology in file units, and how fast a forecast loses its skill, in days.
SCALES = {
    "z500": (480.0, 7.0),
    "t850": (2.1, 6.0),
    "msl": (420.0, 6.5),
    "t2m": (1.6, 6.5),
    "ws10m": (1.3, 4.0),
}
SCALES["tp"] = (6e-4, 3.0)
SYSTEMS = {"fuxi_ens": (1.0, 20), BASELINE: (1.12, 10), "climatology": (None, 60), "persistence": (3.4, 1)}


def crps_of(system: str, name: str, days: float) -> float:
    """A smooth curve that starts small and saturates at, or for persistence above, climatology."""
    climate, memory = SCALES[name]
    speed, _ = SYSTEMS[system]
    if speed is None:
        return climate
    ceiling = 1.6 * climate if system == "persistence" else 1.01 * climate
    growth = (days * speed / memory) ** 1.4
    if system == BASELINE and name == "ws10m":
        growth *= 0.72
    return ceiling * (0.05 + 0.95 * growth / (1.0 + growth))


def _rows(system: str, name: str, lead: np.timedelta64) -> list[dict[str, object]]:
    days = float(lead / np.timedelta64(1, "D"))
    crps = crps_of(system, name, days)
    scores = {"crps": crps, "rmse": crps / 0.45}
    if system != "persistence":
        ratio = 1.0 if system == "climatology" else (0.82 + 0.012 * days if system == "fuxi_ens" else 0.93)
        scores |= {"spread": ratio * crps / 0.45, "spread_skill_ratio": ratio}
        # As in fuxi_ens.verify: skill scores only among systems of one estimator.
        if system != "climatology":
            scores["crpss_climatology"] = 1.0 - crps / SCALES[name][0]
    if system == "fuxi_ens" and lead % np.timedelta64(24, "h") == np.timedelta64(0):
        scores["crps_relative_to_baseline"] = 100.0 * (crps / crps_of(BASELINE, name, days) - 1.0)
    common = {"system": system, "name": name, "region": "global", "lead_time": lead}
    common |= {"members": SYSTEMS[system][1], "truth": "nature run 1998", "n_init": 24}
    common |= {"weights": "cell area", "grid": "32x64 from 87.1875N 0E"}
    common["estimator"] = "standard" if system == "persistence" else "fair"
    return [common | {"score": score, "value": value} for score, value in scores.items()]


def make_table(steps: int = 60) -> pd.DataFrame:
    """Scores of four systems; the baseline has 24-hourly leads only."""
    rows: list[dict[str, object]] = []
    for system in SYSTEMS:
        for lead in lead_times(hours(6), steps):
            if system == BASELINE and lead % np.timedelta64(24, "h") != np.timedelta64(0):
                continue
            for name in HEADLINE:
                rows += _rows(system, name, lead)
    return pd.DataFrame(rows)


def _waves(grid: LatLonGrid, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Smooth random fields of unit variance, [*shape, latitude, longitude]."""
    latitude, longitude = np.deg2rad(grid.latitude)[:, None], np.deg2rad(grid.longitude)[None, :]
    field = np.zeros((*shape, grid.height, grid.width))
    for zonal in range(1, 8):
        for meridional in range(1, 6):
            amplitude = rng.normal(size=(2, *shape, 1, 1)) / (1.0 + 0.15 * zonal**2)
            wave = np.cos(zonal * longitude) * amplitude[0] + np.sin(zonal * longitude) * amplitude[1]
            field += np.sin(meridional * (latitude + np.pi / 2.0)) * wave
    return field / field.std()


def invent_case(name: str = "z500", members: int = 20, steps: int = 60, grid: LatLonGrid | None = None) -> Case:
    """A drifting truth and members that leave it slowly."""
    grid = grid or LatLonGrid(32, 64)
    rng = np.random.default_rng(5)
    leads = lead_times(hours(6), steps)
    mean, slope, amplitude = {"z500": (50500.0, 6500.0, 900.0), "t2m": (258.0, 40.0, 4.0)}.get(name, (5.0, 2.0, 2.0))
    climate = mean + slope * np.cos(np.deg2rad(grid.latitude))[:, None]
    base = _waves(grid, rng, ())
    phase = np.arange(steps)
    truth = np.stack([climate + amplitude * (np.roll(base, int(k // 5), axis=-1)) for k in phase])
    first, second = _waves(grid, rng, (members,)), _waves(grid, rng, (members,))
    growth = np.tanh(np.arange(1, steps + 1) / 35.0)[:, None, None]
    turn = np.linspace(0.0, 3.0, steps)[:, None, None]
    error = growth * (np.cos(turn) * first[:, None] + np.sin(turn) * second[:, None])
    forecast = truth[None] + 0.8 * amplitude * error
    init_time = np.datetime64("1998-01-12T00", "ns")
    horizontal = {"latitude": grid.latitude, "longitude": grid.longitude}
    members_and_leads = {"number": np.arange(members), "lead_time": leads} | horizontal
    everything = xr.DataArray(forecast, members_and_leads, tuple(members_and_leads))
    # As in WeatherBench 2's ifs_ens: fewer members and leads, latitude ascending.
    baseline = everything.isel(number=slice(0, 10), lead_time=slice(1, None, 2)) * 1.01 - 0.01 * mean
    valid = {"valid_time": init_time + leads} | horizontal
    return Case(name, init_time, everything, xr.DataArray(truth, valid, tuple(valid)), baseline.sortby("latitude"))


def make_ranks(members: int = 20) -> xr.DataArray:
    """Slightly under-dispersive rank counts, [name, lead_time, rank]."""
    leads = np.array([hours(24), hours(120), hours(240)])
    rank = np.linspace(-1.0, 1.0, members + 1)
    counts = np.stack([[1000.0 * (1.0 + w * rank**4) for w in (2.0, 0.8, 0.2)] for _ in HEADLINE])
    coords = {"name": list(HEADLINE), "lead_time": leads, "rank": np.arange(members + 1)}
    return xr.DataArray(counts, dims=("name", "lead_time", "rank"), coords=coords)


@pytest.fixture(scope="session")
def score_table() -> pd.DataFrame:
    return make_table()


@pytest.fixture(scope="session")
def scores(score_table: pd.DataFrame) -> Scores:
    return Scores(score_table, Systems("fuxi_ens", BASELINE))


@pytest.fixture(scope="session")
def make_case() -> Callable[..., Case]:
    return invent_case


@pytest.fixture(scope="session")
def rank_counts() -> xr.DataArray:
    return make_ranks()


@pytest.fixture(scope="session")
def evidence(scores: Scores) -> Evidence:
    """Everything a report can show."""
    return Evidence(
        scores=scores,
        title="A 15-day ensemble forecast on a simulated atmosphere",
        period="1998-01-03 to 1998-03-28, every 84 h",
        maps=[invent_case("z500"), invent_case("t2m")],
        map_lead_time=hours(120),
        plumes=[invent_case("t2m"), invent_case("z500")],
        place=Place("Berlin", 52.5, 13.4),
        ranks=make_ranks(),
        rank_lead_times=[hours(24), hours(120), hours(240)],
        caveats=[
            "The truth here is a simulated atmosphere: a nature run, not a reanalysis.",
            "24 init times from one season: differences of a few percent are within chance.",
        ],
        provenance={"config hash": "4be2c1", "code version": "0.1.0 <dirty>", "seed": "2025"},
    )
