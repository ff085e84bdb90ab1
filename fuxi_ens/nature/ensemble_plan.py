"""What a physics ensemble consists of, and which of its forecasts are complete. Needs no jax.

A directory holds physics_ens.zarr, allocated at full length, and one members/*.json for each
completed forecast, written last: it is the mark of completion and the record of provenance.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

from fuxi_ens.errors import UserError
from fuxi_ens.nature import layout
from fuxi_ens.nature.physics import Physics
from fuxi_ens.nature.plan import BLOCK_WINDOWS, completed_times, states_directory

SEED = 20_240_101
SEASON_HALF_WIDTH_DAYS = 25
# Two states of one winter closer than this are alike; their difference would be small.
INDEPENDENT_DAYS = 20
VARIABLES = (*layout.UPPER_AIR, *layout.SURFACE)
LEADING = ("time", "number", "prediction_timedelta")
STORE_NAME = "physics_ens.zarr"


@dataclass(frozen=True)
class EnsemblePlan:
    """Which forecasts to make from the states of the run in `nature`."""

    nature: Path
    init_times: tuple[np.datetime64, ...]
    members: int = 20
    windows: int = 60
    factor: float = 0.15
    levels: tuple[int, ...] = (500, 850)
    physics: Physics = "perfect"

    def __post_init__(self) -> None:
        """Refuse leads that are not whole blocks, and init times without a restart state."""
        if self.windows % BLOCK_WINDOWS or self.members < 1:
            raise UserError(
                f"got {self.members} members of {self.windows} steps; expected at least one "
                f"member and a multiple of {BLOCK_WINDOWS} steps"
            )
        stored = completed_times(states_directory(self.nature))
        missing = [str(t) for t in self.init_times if t not in stored]
        if missing:
            raise UserError(
                f"no restart state for init times {missing}; {self.nature} has one every five "
                f"days" + (f" from {stored[0]} to {stored[-1]}" if stored else ", but none yet")
            )

    @property
    def lead_times(self) -> np.ndarray:
        """Lead times, 6 h to `windows` times 6 h."""
        leads: np.ndarray = layout.STEP_SIZE * np.arange(1, self.windows + 1)
        return leads.astype("timedelta64[ns]")

    @property
    def forecasts(self) -> list["Forecast"]:
        """All forecasts, in the order of init times."""
        return [Forecast(t, n) for t in self.init_times for n in range(1, self.members + 1)]


class Forecast(NamedTuple):
    """One forecast: init time and member number, from 1."""

    init_time: np.datetime64
    number: int

    @property
    def name(self) -> str:
        """File name of the record, without suffix."""
        return f"{self.init_time.astype('datetime64[h]')}_{self.number:02d}"


def season_pool(states: list[np.datetime64], init_time: np.datetime64, earliest: np.datetime64) -> list[np.datetime64]:
    """Return states of the same season in earlier winters, after spin-up (`earliest`)."""
    pool = []
    for state in states:
        days = (init_time - state) / np.timedelta64(1, "D")
        away = abs((days + 182.625) % 365.25 - 182.625)
        if days > 300 and state >= earliest and away <= SEASON_HALF_WIDTH_DAYS:
            pool.append(state)
    return pool


def draw_pair(pool: list[np.datetime64], forecast: Forecast) -> tuple[np.datetime64, np.datetime64]:
    """Draw two independent states; the same two for the same init time and number, always.

    Raises:
        ValueError: if the earlier winters offer no two independent states.
    """
    hours = int(forecast.init_time.astype("datetime64[h]").astype(int))
    rng = np.random.default_rng([SEED, hours, forecast.number])
    pairs = [(a, b) for a in pool for b in pool if abs(a - b) >= np.timedelta64(INDEPENDENT_DAYS, "D")]
    if not pairs:
        raise UserError(
            f"{len(pool)} states precede {forecast.init_time} in its season; perturbations need "
            "a nature run with at least one earlier winter"
        )
    return pairs[rng.integers(len(pairs))]


def mark_path(directory: Path, forecast: Forecast) -> Path:
    """Return the file that marks `forecast` as complete."""
    return directory / "members" / f"{forecast.name}.json"


def open_completed(directory: Path) -> xr.Dataset:
    """Open a finished ensemble.

    Raises:
        ValueError: if members are still missing.
    """
    dataset: xr.Dataset = xr.open_zarr(directory / STORE_NAME)
    made = len(list((directory / "members").glob("*.json")))
    expected = dataset.sizes["time"] * dataset.sizes["number"]
    if made < expected:
        raise UserError(f"{directory} holds {made} of {expected} forecasts; run it again first")
    return dataset
