"""Cut the embedded sample and the baseline from the large stores, and pack them.

Owns the choice of channels, spans and precision of what ships inside the package. Needs no jax.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from fuxi_ens.errors import UserError
from fuxi_ens.nature import layout, packing

CHANNEL_LEVELS = (500, 850)
# Largest rounding error over the standard deviation of 6 h changes, which is what a model learns.
TENDENCY_FRACTION = 0.04
# Prescribed sea surface temperature hardly changes in 6 h; a hundredth of a kelvin is plenty.
SEA_SURFACE_ERROR_K = 0.01
# Largest rounding error over the ensemble's spread at the same lead time. Rounding with a quantum
# of half the spread adds at most 0.5**2 / 12 = 2 % to the variance of the members.
SPREAD_FRACTION = 0.25
# Ten days a chunk: read in order, a chunk serves forty steps and takes 130 kB a variable.
SAMPLE_CUT = packing.Cut(chunk={"time": 40, "level": 1}, fastest="time", shuffle="shuffle")
# All members of one lead, as in WeatherBench 2; twenty are too few for the shuffle of bytes.
BASELINE_CUT = packing.Cut(
    chunk={"time": 1, "prediction_timedelta": 1, "level": 1}, fastest="number", shuffle="bitshuffle"
)
BASELINE_LEVEL = {"geopotential": 500, "temperature": 850}
TIME_ENCODING = {"units": "hours since 1959-01-01", "dtype": "int64"}
LEAD_ENCODING = {"units": "hours", "dtype": "int64"}

ATTRIBUTES = {
    "product": "nature run",
    "source": "jcm 3.0.0, SPEEDY physics, T31L8, free run",
    "license": "data: CC0-1.0; made with jcm (Apache-2.0) and its packaged boundary data",
    "comment": (
        "A simulated atmosphere. Not a reanalysis, not observations, not from ECMWF: scores "
        "against it cannot be compared with scores against ERA5."
    ),
}
SAMPLE_HISTORY = (
    "Free run from rest with observed monthly SST anomalies of these years, more than 90 days of "
    "spin-up left out; sigma levels to pressure levels hydrostatically; Gaussian grid to 64x32 "
    "conservatively; rounded to the precision given per variable. "
    "See fuxi_ens/nature and pipelines/nature_run.py."
)
BASELINE_HISTORY = (
    "Forecasts with the model of the nature run itself (no model error). Members are centered on "
    "an analysis, truth plus one perturbation; each adds another of the same kind, 0.15 times a "
    "difference of two states of earlier winters, so that truth and members are exchangeable. "
    "geopotential is given at 500 hPa and temperature at 850 hPa only; the other level is NaN."
)


@dataclass(frozen=True)
class Span:
    """Valid times from `first` to `last`, both included (ISO, UTC)."""

    first: str
    last: str


def cut_sample(run: xr.Dataset, spans: list[Span]) -> xr.Dataset:
    """Return the 16 channels and the static fields of `run` at the times of `spans`.

    Raises:
        ValueError: if a span is not covered without gaps.
    """
    run = run.sel(level=list(CHANNEL_LEVELS))
    pieces = [run["time"].sel(time=slice(span.first, span.last)) for span in spans]
    for span, piece in zip(spans, pieces, strict=True):
        length = np.datetime64(span.last, "h") - np.datetime64(span.first, "h")
        if piece.sizes["time"] != length // layout.STEP_SIZE + 1:
            raise UserError(
                f"the run covers {run.time.values[0]} to {run.time.values[-1]}, but the sample "
                f"needs {span.first} to {span.last}; extend the run or shorten the span"
            )
    times = np.concatenate([piece.values for piece in pieces])
    variables = (*layout.UPPER_AIR, *layout.SURFACE, layout.SEA_SURFACE, *layout.STATIC)
    sample = run[list(variables)].sel(time=times).load().drop_encoding()
    sample.attrs = {
        "title": "Embedded nature-run sample, 64x32, 6-hourly",
        **ATTRIBUTES,
        "history": SAMPLE_HISTORY,
    }
    return sample


def cut_baseline(ensemble: xr.Dataset, init_times: np.ndarray, leads: np.ndarray) -> xr.Dataset:
    """Return the baseline's variables at `init_times` (datetime64) and `leads` (timedelta64).

    Levels are rectangular: where `BASELINE_LEVEL` leaves one out it holds NaN, which is free.
    """
    names = [*BASELINE_LEVEL, *layout.SURFACE]
    chosen = ensemble[names].sel(time=init_times, prediction_timedelta=leads)
    baseline = chosen.sel(level=list(CHANNEL_LEVELS)).load().drop_encoding()
    for name, level in BASELINE_LEVEL.items():
        attributes = baseline[name].attrs
        baseline[name] = baseline[name].where(baseline["level"] == level)
        baseline[name].attrs = attributes | {"comment": f"given at {level} hPa only, else NaN"}
    baseline.attrs = {
        "title": "Physics ensemble of the embedded nature run, 64x32",
        **ATTRIBUTES,
        "history": BASELINE_HISTORY,
    }
    return baseline


def sample_scales(sample: xr.Dataset) -> dict[str, xr.DataArray]:
    """Return the standard deviation of 6 h changes of each channel, by level, in its unit."""
    contiguous = sample["time"].diff("time", label="upper") == layout.STEP_SIZE
    scales = {}
    for name in (*layout.UPPER_AIR, *layout.SURFACE, layout.SEA_SURFACE):
        change = sample[name].diff("time", label="upper").where(contiguous)
        scales[name] = change.std(("time", "longitude", "latitude"))
    return scales


def sample_errors(sample: xr.Dataset) -> dict[str, xr.DataArray]:
    """Return the largest rounding error to allow for each channel, by level, in its unit."""
    scales = sample_scales(sample)
    errors = {name: TENDENCY_FRACTION * scale for name, scale in scales.items()}
    return errors | {layout.SEA_SURFACE: xr.DataArray(SEA_SURFACE_ERROR_K)}


def baseline_scales(baseline: xr.Dataset) -> dict[str, xr.DataArray]:
    """Return the spread of each variable by lead time: the root of the area mean variance."""
    latitude = baseline["latitude"]
    weight = latitude.copy(data=np.cos(np.deg2rad(latitude.values)))
    scales: dict[str, xr.DataArray] = {}
    for name, members in baseline.data_vars.items():
        variance = members.var("number", ddof=1).weighted(weight)
        over = [d for d in members.dims if d not in ("number", "prediction_timedelta")]
        scales[str(name)] = variance.mean(over) ** 0.5
    return scales


def baseline_errors(baseline: xr.Dataset) -> dict[str, xr.DataArray]:
    """Return the largest rounding error to allow for each variable, by lead time, in its unit."""
    return {name: SPREAD_FRACTION * spread for name, spread in baseline_scales(baseline).items()}


def write_packed(dataset: xr.Dataset, errors: dict[str, xr.DataArray], cut: packing.Cut, path: Path) -> None:
    """Write `dataset`, packed to within `errors`, to the new store `path`.

    Variables without an entry in `errors` are static and keep float32.
    """
    rounded = dataset.copy()
    how = _coordinate_encoding(dataset)
    for name, error in errors.items():
        quantum = packing.quanta(error)
        values = packing.quantize(dataset[name], quantum)
        largest = float(quantum.max()) / 2
        rounded[name] = values.assign_attrs(dataset[name].attrs, largest_rounding_error=largest)
        how[name] = packing.encoding(rounded[name], float(quantum.min()), cut)
    _write(rounded, how, path)


def _coordinate_encoding(dataset: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Return the encoding of times, leads and static fields."""
    how: dict[str, dict[str, Any]] = {"time": dict(TIME_ENCODING)}
    if "prediction_timedelta" in dataset.coords:
        how["prediction_timedelta"] = dict(LEAD_ENCODING)
    for name in layout.STATIC:
        if name in dataset:
            how[name] = {"compressors": layout.blosc(), "dtype": "float32"}
    return how


def _write(dataset: xr.Dataset, how: dict[str, dict[str, Any]], path: Path) -> None:
    """Write a store under a temporary name, so that `path` exists complete or not at all."""
    if path.exists():
        raise UserError(f"{path} exists; remove it to cut the sample again")
    part = path.with_suffix(".part")
    with layout.consolidating():
        dataset.to_zarr(part, mode="w", encoding=how, zarr_format=3, consolidated=True)
    part.rename(path)


def store_bytes(path: Path) -> int:
    """Return the bytes of all files of a store."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
