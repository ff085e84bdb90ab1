"""The nature run: a resumable free integration, written block by block to Zarr.

An interrupted block is integrated and written again, with the same result; see `plan` for what
marks a block as complete.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import jax
import numpy as np
import xarray as xr

from fuxi_ens.nature import layout
from fuxi_ens.nature.fields import Converter
from fuxi_ens.nature.model import Carry, NatureModel
from fuxi_ens.nature.plan import (
    BLOCK,
    BLOCK_WINDOWS,
    VARIABLES,
    Plan,
    completed_times,
    state_path,
    states_directory,
    store_path,
)
from fuxi_ens.nature.restart import load_state, save_state


def integrate(directory: Path, plan: Plan) -> Iterator[np.datetime64]:
    """Run or resume `plan` in `directory`; yield the time reached after each block.

    The first time yielded is where the run was taken up.
    """
    plan.record(directory)
    model = NatureModel(plan.rest_time)
    writer = BlockWriter(directory, plan, Converter(model, plan.levels))
    states = states_directory(directory)
    done = completed_times(states)
    time, carry = plan.rest_time, model.rest()
    if done:
        time = done[-1]
        carry = load_state(state_path(states, time), like=carry)
    else:
        save_state(state_path(states, time), carry)
    yield time
    while time < np.datetime64(plan.end):
        carry, fields = model.advance(carry, BLOCK_WINDOWS)
        if time >= np.datetime64(plan.start):
            writer.write(time, fields)
        time = time + BLOCK
        _complete(states, time, carry)
        yield time


def _complete(states: Path, time: np.datetime64, carry: Carry) -> None:
    """Mark the block that ends at `time` as complete, unless the model has blown up."""
    if not np.isfinite(np.asarray(carry.dynamics.vorticity)).all():
        raise FloatingPointError(f"the nature run holds NaN at {time}; it is kept up to there")
    save_state(state_path(states, time), carry)


class BlockWriter:
    """Writes blocks of five days into the preallocated store of one run."""

    def __init__(self, directory: Path, plan: Plan, converter: Converter) -> None:
        """Allocate the store unless it is there."""
        self.path, self.plan, self.converter = store_path(directory), plan, converter
        self.sst = converter.sea_surface_temperature()
        if not self.path.exists():
            self._allocate()

    def _allocate(self) -> None:
        """Create the store under a temporary name, so that it exists complete or not at all."""
        coordinates = {"time": self.plan.times} | layout.grid_coordinates(self.plan.levels)
        empty, encoding = layout.empty_store(coordinates, VARIABLES, {"time": BLOCK_WINDOWS})
        for name, values in self.converter.static().items():
            empty[name] = (layout.dimensions(name, ()), values)
        encoding["time"] = {"units": "hours since 1959-01-01", "dtype": "int64"}
        part = self.path.with_suffix(".part")
        with layout.consolidating():
            layout.with_attributes(empty).to_zarr(
                part, mode="w", encoding=encoding, compute=False, zarr_format=3, consolidated=True
            )
        part.rename(self.path)

    def write(self, start: np.datetime64, fields: Mapping[str, jax.Array]) -> None:
        """Write the block of windows that begins at `start`."""
        first = int((start - np.datetime64(self.plan.start, "h")) / layout.STEP_SIZE)
        region = slice(first, first + BLOCK_WINDOWS)
        values = self.converter.atmosphere(fields)
        sst = self.sst.interp(time=self.plan.times[region])
        values[layout.SEA_SURFACE] = sst.values.astype(np.float32)
        data = {name: (layout.dimensions(name, ("time",)), v) for name, v in values.items()}
        xr.Dataset(data).to_zarr(self.path, region={"time": region})
