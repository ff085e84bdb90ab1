"""GRIB2 through ecCodes, which only this module of the package imports: `pip install 'fuxi-ens[grib]'`.

Templates, parameters and units are those of WMO's own tables, so that every reader knows them: an instant of a member
is product 4.1, an accumulation 4.11 with its range of steps. Numbers of members are the store's.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import eccodes  # type: ignore[import-untyped]
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fuxi_ens.channels import ACCUMULATION_HOURS, Variable
from fuxi_ens.errors import UserError
from fuxi_ens.export.parameters import PARAMETERS, SMALLEST_SHARE, height_of
from fuxi_ens.export.source import Source
from fuxi_ens.files import open_atomic
from fuxi_ens.times import hours

_TABLES_VERSION: Final = 34
_CENTRE_UNKNOWN: Final = 255
_INSTANT, _INTERVAL = 1, 11
_CONTROL, _PERTURBED = 3, 4
_UNPERTURBED, _UNSTATED = 1, 255
_MICRODEGREES: Final = 1e6
_MISSING: Final = 1e34
_MOST_BITS: Final = 24
"""float32 holds no more."""


class Written(NamedTuple):
    """What went into a file."""

    messages: int
    left_out: int
    """Fields without a single value."""


def write_grib(path: Path, source: Source, init_time: np.datetime64, variables: Sequence[Variable]) -> Written:
    """Write one forecast, all of it or nothing; lead time outermost, then variable, member, level.

    One lead time of one variable is in memory at a time. Raises UserError for a grid or lead times that GRIB cannot
    describe.
    """
    messages = left_out = 0
    grid = _grid(source)
    with open_atomic(path) as file:
        for lead in source.leads:
            for variable in variables:
                step = _step(lead, variable)
                block = source.block(variable, init_time, lead).to_numpy()
                levels: list[int | None] = [*source.levels(variable)] or [None]
                block_MKHW = block.reshape(len(source.members), len(levels), *block.shape[-2:])
                with _template(grid, source, init_time, variable) as template:
                    for member, fields in zip(source.members, block_MKHW, strict=True):
                        for level, field in zip(levels, fields, strict=True):
                            if step is None or np.isnan(field).all():
                                left_out += 1
                                continue
                            keys = {"stepRange": step, **_member(int(member), source), **_level(level)}
                            file.write(_message(template, keys, field, variable))
                            messages += 1
    return Written(messages, left_out)


def bits_for(values: NDArray[np.float64], resolution: float) -> int:
    """Bits per value that keep every number to half the resolution, 1 to 24; 0 for a constant field.

    Packed numbers are reference + count * 2**k. The reference is a float32 below the smallest value, and k the
    smallest that fits, so that a power of two not above the resolution is what counts.
    """
    low, high = float(values.min()), float(values.max())
    if low == high:
        return 0
    step = 2.0 ** math.floor(math.log2(resolution))
    reference = float(np.spacing(np.float32(abs(low))))
    return min(max(math.ceil(math.log2((high - low + reference) / step + 1.0)), 1), _MOST_BITS)


def resolution_of(variable: Variable, values: NDArray[np.float64]) -> float:
    """Largest step between packed numbers of a field, GRIB units; the error is half of it."""
    stated = PARAMETERS[variable.short].resolution
    return stated or max(float(np.abs(values).max()) * SMALLEST_SHARE, float(np.finfo(np.float32).tiny))


def _message(template: int, keys: dict[str, Any], field_HW: NDArray[np.float32], variable: Variable) -> bytes:
    values = field_HW.astype(np.float64).ravel() * PARAMETERS[variable.short].to_grib
    missing = np.isnan(values)
    message = eccodes.codes_clone(template)
    try:
        for key, value in keys.items():
            eccodes.codes_set(message, key, value)
        present = values[~missing] if missing.any() else values
        eccodes.codes_set(message, "bitsPerValue", bits_for(present, resolution_of(variable, present)))
        if missing.any():
            eccodes.codes_set(message, "bitmapPresent", 1)
            eccodes.codes_set(message, "missingValue", _MISSING)
            values[missing] = _MISSING
        eccodes.codes_set_values(message, values)
        return bytes(eccodes.codes_get_message(message))
    finally:
        eccodes.codes_release(message)


@contextmanager
def _template(grid: dict[str, Any], source: Source, init_time: np.datetime64, variable: Variable) -> Iterator[int]:
    """A message with everything that all members, levels and lead times of a variable share."""
    moment = pd.Timestamp(init_time)
    keys: dict[str, Any] = {
        "centre": _CENTRE_UNKNOWN,
        "tablesVersion": _TABLES_VERSION,
        "significanceOfReferenceTime": 1,
        "dataDate": int(f"{moment:%Y%m%d}"),
        "dataTime": int(f"{moment:%H%M}"),
        "productDefinitionTemplateNumber": _INTERVAL if variable.accumulated else _INSTANT,
        "paramId": PARAMETERS[variable.short].param_id,
        "numberOfForecastsInEnsemble": source.store.members,
        "indicatorOfUnitOfTimeRange": 1,
        **({"stepType": "accum"} if variable.accumulated else {}),
    }
    height = height_of(variable)
    if height is not None:
        keys |= {"typeOfLevel": "heightAboveGround", "level": height}
    if source.levels(variable):
        keys["typeOfLevel"] = "isobaricInhPa"
    template = eccodes.codes_grib_new_from_samples("GRIB2")
    try:
        for key, value in {**grid, **keys, "packingType": "grid_ccsds"}.items():
            eccodes.codes_set(template, key, value)
        yield template
    finally:
        eccodes.codes_release(template)


def _member(number: int, source: Source) -> dict[str, int]:
    control = number == source.control
    return {
        "typeOfProcessedData": _CONTROL if control else _PERTURBED,
        "typeOfEnsembleForecast": _UNPERTURBED if control else _UNSTATED,
        "perturbationNumber": number,
    }


def _level(level: int | None) -> dict[str, int]:
    return {} if level is None else {"level": level}


def _step(lead: np.timedelta64, variable: Variable) -> str | None:
    """`12`, or `6-12` for an accumulation; None for one that would begin before the forecast."""
    count = lead / hours(1)
    if count != round(count):
        raise UserError(f"GRIB files are written with steps in whole hours, got a lead time of {count:g} h; use netcdf")
    if not variable.accumulated:
        return f"{count:.0f}"
    return f"{count - ACCUMULATION_HOURS:.0f}-{count:.0f}" if count >= ACCUMULATION_HOURS else None


def _grid(source: Source) -> dict[str, Any]:
    latitude, longitude = (source.store.dataset[dim].to_numpy().astype(np.float64) for dim in ("latitude", "longitude"))
    for name, values in (("latitude", latitude), ("longitude", longitude)):
        steps = np.diff(values)
        if len(values) < 2 or not np.allclose(steps, steps.mean(), rtol=0, atol=1e-3 * abs(steps.mean())):
            raise UserError(f"{source.store.source}: {name} is not evenly spaced, expected a regular grid; use netcdf")
    micro = {
        "latitudeOfFirstGridPoint": latitude[0],
        "longitudeOfFirstGridPoint": longitude[0] % 360.0,
        "latitudeOfLastGridPoint": latitude[-1],
        "longitudeOfLastGridPoint": longitude[-1] % 360.0,
        "iDirectionIncrement": abs(longitude[-1] - longitude[0]) / (len(longitude) - 1),
        "jDirectionIncrement": abs(latitude[0] - latitude[-1]) / (len(latitude) - 1),
    }
    counts = {"gridType": "regular_ll", "Ni": len(longitude), "Nj": len(latitude)}
    scan = {"iScansNegatively": 0, "jScansPositively": 0, "jPointsAreConsecutive": 0, "shapeOfTheEarth": 6}
    return {**counts, **{key: round(value * _MICRODEGREES) for key, value in micro.items()}, **scan}
