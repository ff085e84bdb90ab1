"""Members per minute of `run_forecast` and of earth2studio's `run.ensemble`, with one network and one noise.

Both go from a model on disk to a complete Zarr store of the demo's channels, one thread of the model's, and take turns.
The 2 m temperatures of both must be equal, bit for bit.

earth2studio needs an environment of its own, with torch and this package's dependencies. There `pip install --no-deps
earth2studio`, then the packages that importing `earth2studio.run` asks for: pip had not found versions for all of its
requirements together after seven minutes.

    PYTHONPATH=$PWD /tmp/peers/bin/python benchmarks/forecast_peers.py
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import itertools
import shutil
import statistics
import tempfile
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Self

import numpy as np
import torch
import typer
import xarray as xr
import zarr
from earth2studio.io import ZarrBackend
from earth2studio.perturbation import Zero
from earth2studio.run import ensemble
from forecast import configure, forecast_seconds, seconds
from rich.console import Console
from rich.table import Table
from torch import Tensor

from fuxi_ens.checkpoint import load_models
from fuxi_ens.config import Config
from fuxi_ens.forecast.draws import Draws
from fuxi_ens.forecast.initial import open_initial_conditions
from fuxi_ens.forecast.noise_ahead import NoiseMaker
from fuxi_ens.forecast.seats import Batch
from fuxi_ens.paths import RunPaths
from fuxi_ens.times import HISTORY, clock

CPU = torch.device("cpu")
COMPARED = ("t2m", "2m_temperature")
"""A channel and its array in our store; in kelvin in both stores."""
Coords = OrderedDict[str, np.ndarray]


class Prognostic:
    """Our network as earth2studio wants a model: x is [ensemble, time, lead_time, variable, lat, lon]."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._model = load_models(RunPaths(config.run.folder).model, CPU).first.model
        self._init_time = config.forecast.init_times.times[0]
        draws = Draws(config.forecast.draws, config.run.seed, config.forecast.members)
        self._noise = NoiseMaker(draws, config.model, self._init_time, CPU)

    def to(self, device: torch.device) -> Self:
        """It stays where it is, on the CPU."""
        return self

    def input_coords(self) -> Coords:
        """The history."""
        return self._coords(np.arange(1 - HISTORY, 1) * self._config.data.step_size)

    def output_coords(self, input_coords: Coords) -> Coords:
        """The next frame."""
        return self._coords(input_coords["lead_time"][-1:] + self._config.data.step_size)

    def create_iterator(self, x: Tensor, coords: Coords) -> Iterator[tuple[Tensor, Coords]]:
        """The initial frame, then one frame after another, for ever."""
        members, step_size = coords["ensemble"], self._config.data.step_size
        batch = Batch(tuple(members.tolist()), (), ())
        state_BTCHW = x[:, 0]
        for step in itertools.count():
            frame = state_BTCHW[:, None, -1:]
            yield frame, OrderedDict(coords, lead_time=np.array([step * step_size]))
            noise = self._noise(step, batch)
            now = torch.from_numpy(clock(np.repeat(self._init_time + step * step_size, len(members)), step))
            with torch.inference_mode():
                state_BTCHW = self._model.step(state_BTCHW, now, noise.eps_BTCHW, noise.dropout, noise.xi_BR)

    def _coords(self, lead_times: np.ndarray) -> Coords:
        grid = self._config.model.grid
        return OrderedDict(
            lead_time=lead_times, variable=np.array(self._config.model.channels), lat=grid.latitude, lon=grid.longitude
        )


class Source:
    """The two initial frames of the config's init time, as earth2studio asks for them."""

    def __init__(self, config: Config) -> None:
        grid, init_time = config.model.grid, config.forecast.init_times.times[0]
        times = init_time + np.arange(1 - HISTORY, 1) * config.data.step_size
        coords = {"time": times, "variable": list(config.model.channels), "lat": grid.latitude, "lon": grid.longitude}
        self._fields = xr.DataArray(open_initial_conditions(config).history(init_time), coords)

    def __call__(self, time: np.ndarray, variable: np.ndarray) -> xr.DataArray:
        """Fields in model units."""
        return self._fields.sel(time=time, variable=variable)


def peer_seconds(config: Config, path: Path) -> float:
    """Of earth2studio's ensemble, from a model on disk to a complete store in its default layout."""
    shutil.rmtree(path, ignore_errors=True)
    forecast = config.forecast
    return seconds(
        lambda: ensemble(
            forecast.init_times.times,
            forecast.steps,
            forecast.members,
            Prognostic(config),
            Source(config),
            ZarrBackend(str(path)),
            Zero(),
            batch_size=forecast.members_per_batch,
            output_coords=OrderedDict(variable=np.array(forecast.channels)),
            device=CPU,
            verbose=False,
        )
    )


def measured(wall_seconds: Callable[[], float]) -> tuple[float, float]:
    """Wall time, and processor time of all threads, which others on the machine disturb less."""
    begun = time.process_time()
    wall = wall_seconds()
    return wall, time.process_time() - begun


def require_equal(config: Config, path: Path) -> None:
    """Raise AssertionError unless both made the same forecast, as far as COMPARED shows."""
    channel, array = COMPARED
    ours = zarr.open_group(config.forecast_store, mode="r")[array][0]
    # Theirs begins with the initial frame.
    np.testing.assert_array_equal(zarr.open_group(path, mode="r")[channel][:, 0, 1:], ours)


def main(
    members: Annotated[int, typer.Option(help="Members of the forecast.")] = 8,
    steps: Annotated[int, typer.Option(help="Lead times.")] = 20,
    rounds: Annotated[int, typer.Option(help="Turns that each contestant gets.")] = 3,
) -> None:
    """Print members per minute of both, and the ratios of their times round by round."""
    warnings.filterwarnings("ignore", "Consolidated metadata")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        config, path = configure(Path(folder) / "ours", members, steps), Path(folder) / "peer.zarr"
        contestants = {
            "run_forecast": lambda: forecast_seconds(config),
            "earth2studio": lambda: peer_seconds(config, path),
        }
        turns = [{name: measured(run) for name, run in contestants.items()} for _ in range(rounds)]
        require_equal(config, path)
    table = Table("figure", "found", title=f"{members} members, {steps} lead times, median of {rounds} rounds")
    for name in contestants:
        wall, cpu = (statistics.median(values) for values in zip(*(turn[name] for turn in turns), strict=True))
        table.add_row(f"members per minute, {name}", f"{60 * members / wall:.3g}")
        table.add_row(f"processor seconds per member, {name}", f"{cpu / members:.3g}")
    for k, kind in enumerate(("wall", "processor")):
        ratios = [turn["earth2studio"][k] / turn["run_forecast"][k] for turn in turns]
        table.add_row(f"{kind} time, earth2studio / run_forecast", ", ".join(f"{ratio:.3g}" for ratio in ratios))
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
