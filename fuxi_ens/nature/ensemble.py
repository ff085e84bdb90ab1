"""The physics ensemble: forecasts with the nature model itself from perturbed analyses.

A perturbation is `factor` times the difference of two nature states of the same season in earlier
winters: balanced, and large where the atmosphere varies. Truth is the nature run, which starts
unperturbed. Members centered on it would know their own center; so they are centered on an
analysis, which is truth plus one more perturbation of the same kind (`number` 0). Truth and the
members are then equally far from the analysis and exchangeable: the ensemble is calibrated by
construction. With `physics: perfect` model error is absent: a baseline hard to beat. With `imperfect` the same
states are forecast with other constants, as an operational model is wrong in ways of its own. Neither has scores that
may be compared with those of an operational ensemble.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

from fuxi_ens.errors import UserError
from fuxi_ens.nature import layout
from fuxi_ens.nature.ensemble_plan import (
    LEADING,
    STORE_NAME,
    VARIABLES,
    EnsemblePlan,
    Forecast,
    draw_pair,
    mark_path,
    season_pool,
)
from fuxi_ens.nature.fields import Converter
from fuxi_ens.nature.model import Carry, NatureModel
from fuxi_ens.nature.plan import (
    BLOCK_WINDOWS,
    completed_times,
    read_plan,
    state_path,
    states_directory,
)
from fuxi_ens.nature.restart import load_state


def perturbed(dynamics: Any, factor: float, plus: Any, minus: Any) -> Any:
    """Return `dynamics` + `factor` (`plus` - `minus`), field by field, in spectral space."""

    def add(field: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
        return field + factor * (a - b)

    names = ("vorticity", "divergence", "temperature_variation", "log_surface_pressure", "tracers")
    changed = {
        name: jax.tree_util.tree_map(add, getattr(dynamics, name), getattr(plus, name), getattr(minus, name))
        for name in names
    }
    return dynamics.replace(**changed)


class Perturber:
    """Makes the perturbed initial states of one ensemble."""

    def __init__(self, plan: EnsemblePlan, template: Carry) -> None:
        """Prepare to read states shaped like `template`."""
        self.plan, self.template = plan, template
        self.directory = states_directory(plan.nature)
        self.states = completed_times(self.directory)
        self.earliest = np.datetime64(read_plan(plan.nature).start)

    def load(self, time: np.datetime64) -> Carry:
        """Return the nature state at `time`."""
        return load_state(state_path(self.directory, time), like=self.template)

    def initial(self, forecast: Forecast) -> tuple[Carry, dict[str, Any]]:
        """Return the member's initial state and the record of how it was made."""
        carry = self.load(forecast.init_time)
        pool = season_pool(self.states, forecast.init_time, self.earliest)
        record: dict[str, Any] = {"factor": self.plan.factor}
        for role, number in (("analysis", 0), ("member", forecast.number)):
            plus, minus = draw_pair(pool, Forecast(forecast.init_time, number))
            record[role] = [str(plus), str(minus)]
            dynamics = perturbed(
                carry.dynamics,
                self.plan.factor,
                self.load(plus).dynamics,
                self.load(minus).dynamics,
            )
            carry = carry._replace(dynamics=dynamics)
        return carry, record


def forecast_all(directory: Path, plan: EnsemblePlan, worker: int = 0, workers: int = 1) -> Iterator[Forecast]:
    """Make the forecasts of `plan` that `directory` lacks; yield each as it is completed.

    Several processes may share a directory: worker i of n takes every n-th forecast. Worker 0
    creates the store, so it has to start first.
    """
    model = NatureModel(plan.init_times[0], plan.physics)
    converter = Converter(model, plan.levels)
    perturber = Perturber(plan, model.rest())
    store = _allocate(directory, plan, create=worker == 0)
    for forecast in plan.forecasts[worker::workers]:
        mark = mark_path(directory, forecast)
        if not mark.exists():
            carry, record = perturber.initial(forecast)
            _write(store, plan, forecast, _forecast(model, converter, carry, plan.windows))
            part = mark.with_suffix(".part")
            part.write_text(json.dumps(record))
            part.replace(mark)
        yield forecast


def _forecast(model: NatureModel, converter: Converter, carry: Carry, windows: int) -> dict[str, np.ndarray]:
    """Integrate one member; return its variables with a leading axis of lead times."""
    blocks = []
    for _ in range(windows // BLOCK_WINDOWS):
        carry, fields = model.advance(carry, BLOCK_WINDOWS)
        blocks.append(converter.atmosphere(fields))
    joined = {name: np.concatenate([b[name] for b in blocks]) for name in VARIABLES}
    bad = [name for name, values in joined.items() if not np.isfinite(values).all()]
    if bad:
        raise FloatingPointError(f"a member's {bad} is not finite; lower the factor")
    return joined


def _allocate(directory: Path, plan: EnsemblePlan, create: bool) -> Path:
    """Create the store, complete or not at all; check it if it is there."""
    store = directory / STORE_NAME
    coordinates = {
        "time": np.asarray(plan.init_times, dtype="datetime64[ns]"),
        "number": np.arange(1, plan.members + 1, dtype=np.int32),
        "prediction_timedelta": plan.lead_times,
    } | layout.grid_coordinates(plan.levels)
    (directory / "members").mkdir(parents=True, exist_ok=True)
    if not store.exists() and not create:
        raise UserError(f"{store} does not exist yet; start worker 0 and wait for its store")
    if not store.exists():
        empty, encoding = layout.empty_store(coordinates, VARIABLES, {"time": 1, "number": 1})
        encoding["time"] = {"units": "hours since 1959-01-01", "dtype": "int64"}
        encoding["prediction_timedelta"] = {"units": "hours", "dtype": "int64"}
        empty.attrs |= {"factor": plan.factor, "physics": plan.physics}
        part = store.with_suffix(".part")
        with layout.consolidating():
            empty.to_zarr(part, mode="w", encoding=encoding, compute=False, zarr_format=3, consolidated=True)
        part.rename(store)
    found = xr.open_zarr(store)
    same = all(np.array_equal(found[name], values) for name, values in coordinates.items())
    about = {name: found.attrs.get(name) for name in ("factor", "physics")}
    if not same or about != {"factor": plan.factor, "physics": plan.physics}:
        raise UserError(
            f"{store} holds another ensemble: {dict(found.sizes)}, {about}; repeat the first arguments or choose "
            "another directory"
        )
    return store


def _write(store: Path, plan: EnsemblePlan, forecast: Forecast, values: dict[str, Any]) -> None:
    """Write one member into its region of the store."""
    i, j = plan.init_times.index(forecast.init_time), forecast.number - 1
    data = {n: (layout.dimensions(n, LEADING), v[None, None]) for n, v in values.items()}
    region = {"time": slice(i, i + 1), "number": slice(j, j + 1)}
    xr.Dataset(data).to_zarr(store, region=region)
