"""What a nature run covers, and what of it is complete. Needs no jax.

A run directory holds
  plan.json        what was asked for; a later call must ask for the same,
  states/*.npz     one restart state after each completed block of five days,
  nature_run.zarr  the products, allocated at full length from the start.
A block counts as complete when its restart state exists, and the state is written last.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from fuxi_ens.errors import UserError
from fuxi_ens.nature import layout

BLOCK_WINDOWS = 20
BLOCK = BLOCK_WINDOWS * layout.STEP_SIZE
VARIABLES = (*layout.UPPER_AIR, *layout.SURFACE, layout.SEA_SURFACE)
STATE_SUFFIX = ".npz"


@dataclass(frozen=True)
class Plan:
    """What a run covers: from `start`, after spin-up from rest, until `end` (ISO dates, UTC)."""

    start: str
    end: str
    spinup_days: int
    levels: tuple[int, ...] = layout.LEVELS_13

    def __post_init__(self) -> None:
        """Refuse spans that are not whole blocks."""
        for name, days in (("spin-up", self.spinup_days), ("run", self.run_days)):
            if days <= 0 or np.timedelta64(days, "D") % BLOCK != np.timedelta64(0, "h"):
                raise UserError(
                    f"the {name} takes {days} days from {self.start} to {self.end}; "
                    f"it must take a positive multiple of {BLOCK.astype('timedelta64[D]')}"
                )

    @property
    def run_days(self) -> int:
        """Length of the product, days."""
        return int((np.datetime64(self.end, "D") - np.datetime64(self.start, "D")).astype(int))

    @property
    def rest_time(self) -> np.datetime64:
        """Time of the state of rest, before spin-up."""
        return np.datetime64(self.start, "h") - np.timedelta64(self.spinup_days, "D")

    @property
    def times(self) -> np.ndarray:
        """Valid times of the product: every 6 h after `start`, to `end`."""
        first = np.datetime64(self.start, "h") + layout.STEP_SIZE
        last = np.datetime64(self.end, "h") + layout.STEP_SIZE
        return np.arange(first, last, layout.STEP_SIZE).astype("datetime64[ns]")

    def blocks_left(self, directory: Path) -> int:
        """Return how many blocks, with those of spin-up, `directory` still lacks."""
        done = completed_times(states_directory(directory))
        reached = done[-1] if done else self.rest_time
        return int((np.datetime64(self.end, "h") - reached) / BLOCK)

    def record(self, directory: Path) -> None:
        """Write the plan, or check it against the one already there."""
        path = directory / "plan.json"
        asked = json.loads(json.dumps(asdict(self)))
        if not path.exists():
            directory.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            part.write_text(json.dumps(asked, indent=1))
            part.replace(path)
        found = json.loads(path.read_text())
        if found != asked:
            raise UserError(
                f"{directory} holds another run: {found}, asked for {asked}; "
                "repeat the first arguments to resume it, or choose another directory"
            )


def read_plan(directory: Path) -> Plan:
    """Return the plan of the run in `directory`."""
    path = directory / "plan.json"
    if not path.exists():
        raise UserError(f"{directory} holds no nature run: {path.name} is missing")
    found = json.loads(path.read_text())
    return Plan(**found | {"levels": tuple(found["levels"])})


def states_directory(directory: Path) -> Path:
    """Return where the run in `directory` keeps its restart states."""
    return directory / "states"


def store_path(directory: Path) -> Path:
    """Return where the run in `directory` keeps its products."""
    return directory / "nature_run.zarr"


def state_path(directory: Path, time: np.datetime64) -> Path:
    """Return where the state valid at `time` (UTC, whole hours) lives."""
    return directory / f"{time.astype('datetime64[h]')}{STATE_SUFFIX}"


def completed_times(directory: Path) -> list[np.datetime64]:
    """Return the valid times of the states in `directory`, ascending."""
    names = (path.name.removesuffix(STATE_SUFFIX) for path in directory.glob(f"*{STATE_SUFFIX}"))
    return sorted(np.datetime64(name, "h") for name in names)


def open_completed(directory: Path) -> xr.Dataset:
    """Open the products of a run up to the last completed block; later times are not there yet."""
    plan = read_plan(directory)
    done = completed_times(states_directory(directory))
    if not done or done[-1] <= np.datetime64(plan.start):
        raise UserError(f"the nature run in {directory} is still spinning up")
    dataset: xr.Dataset = xr.open_zarr(store_path(directory))
    return dataset.sel(time=slice(None, done[-1]))
