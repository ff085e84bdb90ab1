"""Per-channel mean and standard deviation over the training periods, in one streaming pass on Dask.

Precipitation is logged first, sea-surface temperature counts over sea only, sums are float64 and area weighted.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import dask
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from fuxi_ens import channels as vocabulary
from fuxi_ens.config import Config, Period
from fuxi_ens.data.era5 import Analysis, open_analysis
from fuxi_ens.data.samples import require_complete
from fuxi_ens.errors import StoreError
from fuxi_ens.files import write_atomic
from fuxi_ens.grid import area_weights

_CONSTANT = 1e-6


@dataclass(frozen=True)
class Statistics:
    """Numbers that standardize the channels; model units, precipitation as log(1 + mm)."""

    channels: tuple[str, ...]
    mean: tuple[FiniteFloat, ...]
    std: tuple[Annotated[FiniteFloat, Field(gt=0)], ...]
    increment_std: tuple[Annotated[FiniteFloat, Field(ge=0)], ...]
    """Standard deviation of the change over one step, divided by `std`."""
    frames: int
    """Frames that entered the means."""
    source: str
    periods: str
    """The training periods, in words."""

    def save(self, path: Path) -> None:
        """Write JSON atomically."""
        write_atomic(path, json.dumps(asdict(self), indent=1).encode() + b"\n")


def load_statistics(path: Path, config: Config) -> Statistics:
    """Read back what `Statistics.save` wrote. Raises StoreError when absent, damaged, or made for another config."""
    try:
        statistics = TypeAdapter(Statistics).validate_json(path.read_bytes())
        lengths = {len(statistics.channels), len(statistics.mean), len(statistics.std), len(statistics.increment_std)}
        if len(lengths) > 1:
            raise ValueError(f"its columns have lengths {sorted(lengths)}")
    except FileNotFoundError as error:
        raise StoreError(f"no statistics at {path}; run `fuxi-ens data statistics CONFIG` first") from error
    except ValueError as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise StoreError(
            f"{path} is damaged ({reason}); delete it and run `fuxi-ens data statistics CONFIG`"
        ) from error
    made_for = (statistics.channels, statistics.source, statistics.periods)
    asked = (config.model.channels, config.data.store, _describe(config.data.train))
    for what, got, expected in zip(("channels", "data.store", "data.train"), made_for, asked, strict=True):
        if got != expected:
            raise StoreError(
                f"{path} was made for {what} {got}, the config has {expected}; delete it and run "
                "`fuxi-ens data statistics CONFIG`"
            )
    return statistics


def compute_statistics(config: Config) -> Statistics:
    """One pass over data.train on config.run.threads threads. Raises StoreError if a channel never varies."""
    analysis = open_analysis(
        config.data.store, config.model.channels, config.model.grid, config.data.step_size, dask=True
    )
    require_complete(analysis.times, config.data.train, config.data.step_size, config.data.store)
    used = np.any([period.contains(analysis.times) for period in config.data.train], axis=0)
    lazy = [_sums(analysis, name, used, config) for name in config.model.channels]
    sums = dask.compute(lazy, scheduler="threads", num_workers=config.run.threads or None)[0]
    return _finish(config, [{k: float(v) for k, v in channel.items()} for channel in sums], int(used.sum()))


def _sums(analysis: Analysis, name: str, used: NDArray[np.bool_], config: Config) -> dict[str, xr.DataArray]:
    """Lazy weighted sums of one channel and of its increments."""
    field: xr.DataArray = analysis.lazy(name).astype(np.float64)
    if vocabulary.channel(name).variable.transform == "log1p":
        field = xr.apply_ufunc(np.log1p, field.clip(min=0.0), dask="allowed")
    weights = xr.DataArray(area_weights(config.model.grid.latitude), dims="latitude")
    # A difference is an increment only between frames one step apart, both of them in the training periods.
    adjacent = np.zeros(len(used), bool)
    adjacent[1:] = used[1:] & used[:-1] & (np.diff(analysis.times) == config.data.step_size)
    increment = field - field.shift(time=1)
    return {
        **_moments(field.isel(time=used), weights, ""),
        **_moments(increment.isel(time=adjacent), weights, "increment_"),
    }


def _moments(field: xr.DataArray, weights: xr.DataArray, prefix: str) -> dict[str, xr.DataArray]:
    valid = field.notnull() * weights
    return {
        f"{prefix}weight": valid.sum(),
        f"{prefix}sum": (field * weights).sum(),
        f"{prefix}squares": (field**2 * weights).sum(),
    }


def _finish(config: Config, sums: list[dict[str, float]], frames: int) -> Statistics:
    mean, std, increment = [], [], []
    for name, s in zip(config.model.channels, sums, strict=True):
        _refuse_gaps(config, name, s["weight"], frames)
        m, spread = _mean_std(s, "")
        # Rounding leaves a little variance in a constant field.
        if not spread > _CONSTANT * abs(m):
            raise StoreError(f"channel {name} never varies over data.train in {config.data.store}; leave it out")
        if not s["increment_weight"]:
            raise StoreError("data.train has no two adjacent frames, so no increment; widen it")
        mean.append(m)
        std.append(spread)
        increment.append(_mean_std(s, "increment_")[1] / spread)
    return Statistics(
        channels=config.model.channels,
        mean=tuple(mean),
        std=tuple(std),
        increment_std=tuple(increment),
        frames=frames,
        source=config.data.store,
        periods=_describe(config.data.train),
    )


def _refuse_gaps(config: Config, name: str, weight: float, frames: int) -> None:
    """Statistics of a part of the points would differ from what training reads, which refuses missing values."""
    points = frames * config.model.height * config.model.width
    if weight < (1.0 - _CONSTANT) * points and not vocabulary.channel(name).variable.may_be_missing:
        raise StoreError(f"{config.data.store}: {name} has missing values in data.train; run on a store without them")


def _mean_std(sums: dict[str, float], prefix: str) -> tuple[float, float]:
    weight = max(sums[f"{prefix}weight"], 1.0)
    mean = sums[f"{prefix}sum"] / weight
    return mean, max(sums[f"{prefix}squares"] / weight - mean**2, 0.0) ** 0.5


def _describe(periods: tuple[Period, ...]) -> str:
    return ", ".join(f"{p.start.isoformat()}..{p.end.isoformat()}" for p in periods)
