"""Statistics on disk: one small NetCDF file per system and init_time, `<out>/<system>/<YYYY-MM-DDTHH>.nc`.

A file appears whole or not at all, so an interrupted run continues where it stopped. NetCDF3 keeps float64
exactly and needs one inode.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import xarray as xr

from fuxi_ens.errors import StoreError
from fuxi_ens.files import write_atomic
from fuxi_ens.verify.families import ON_DEMAND

_ENCODING: Final = {
    "lead_time": {"units": "seconds", "dtype": "int32"},
    "map_lead_time": {"units": "seconds", "dtype": "int32"},
    "init_time": {"units": "seconds since 1970-01-01", "dtype": "float64"},
}
_IDENTITY: Final = ("config_hash", "forecast_hash", "role", "truth", "estimator", "grid", "weights")
"""Attributes in which all files of a system agree."""


def statistics_path(out: Path, system: str, init_time: np.datetime64) -> Path:
    """Where the statistics of one system and init_time live."""
    return out / system / f"{pd.Timestamp(init_time):%Y-%m-%dT%H}.nc"


def given_up_path(out: Path, system: str, init_time: np.datetime64) -> Path:
    """Where it is noted that an init_time has no statistics, because members of it were given up."""
    return statistics_path(out, system, init_time).with_suffix(".given_up")


def write_statistics(path: Path, statistics: xr.Dataset) -> None:
    """Write one file; other processes see the complete file or none."""
    encoding = {name: how for name, how in _ENCODING.items() if name in statistics.coords}
    content = statistics.to_netcdf(engine="scipy", format="NETCDF3_64BIT", encoding=encoding)
    write_atomic(path, bytes(content))


def read_file(path: Path, without: Collection[str] = ()) -> xr.Dataset:
    """Statistics of one init time, in memory, `without` some of them. Raises StoreError for a file that is none."""
    try:
        return xr.load_dataset(path, engine="scipy", decode_timedelta=True, drop_variables=without)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StoreError(f"{path} is no statistics file ({error}); delete it and run verify again") from error


def is_complete(path: Path, identity: Mapping[str, str]) -> bool:
    """Whether `path` is there. Raises StoreError if it was made with other settings or of another forecast."""
    if not path.exists():
        return False
    require_identity(path, read_file(path, ON_DEMAND).attrs, identity)
    return True


def require_identity(path: Path, found: Mapping[Any, Any], identity: Mapping[str, str]) -> None:
    """Raise StoreError if what `path` says of its origin is not the `identity`."""
    for key, expected in identity.items():
        if found.get(key, "none") != expected:
            raise StoreError(
                f"{path} has {key} {found.get(key, 'none')}, expected {expected}: scores of two configurations or "
                f"forecasts must not mix; delete {path.parent.parent} or verify into another folder"
            )


def read_statistics(folders: Iterable[Path]) -> dict[str, xr.Dataset]:
    """All statistics below `folders`, by system, each with `init_time` as a further dimension, in memory.

    Folders are outputs of `run.verify` or single systems in them. Pairs that a file does not have are NaN. What is
    large, `families.ON_DEMAND`, stays in the files; `read_parts` reads it.
    Raises StoreError if there is no file, or if a system's files contradict each other or repeat an
    init_time.
    """
    files: dict[str, list[xr.Dataset]] = defaultdict(list)
    for path in _paths(folders):
        data = read_file(path, ON_DEMAND)
        if "system" not in data.attrs:
            raise StoreError(f"{path} is no statistics file: it names no system; give the folders that verify wrote")
        files[data.attrs["system"]].append(data)
    if not files:
        raise StoreError(f"no statistics below {[str(folder) for folder in folders]}; run verify first")
    return {system: _joined(system, parts) for system, parts in files.items()}


def read_parts(
    folders: Iterable[Path], variable: str, system: str, choose: Mapping[str, object]
) -> Iterator[tuple[np.datetime64, xr.DataArray]]:
    """One large variable of a system, init time after init time, in memory, at the labels `choose`.

    Only what is chosen is read. Files without the variable give nothing.
    """
    for path in _paths(folders):
        with xr.open_dataset(path, engine="scipy", decode_timedelta=True) as data:
            if data.attrs.get("system") == system and variable in data:
                yield np.datetime64(data["init_time"].item(), "ns"), data[variable].sel(choose).load()


def _paths(folders: Iterable[Path]) -> list[Path]:
    return sorted({path for folder in folders for path in Path(folder).rglob("*.nc")})


def _joined(system: str, parts: list[xr.Dataset]) -> xr.Dataset:
    for attribute in _IDENTITY:
        found = {part.attrs.get(attribute, "none") for part in parts}
        if len(found) > 1:
            raise StoreError(f"statistics of {system} differ in {attribute}: {sorted(found)}; give one run's folder")
    result = xr.concat(parts, "init_time", data_vars="all", coords="minimal", compat="override", join="outer")
    if not result.indexes["init_time"].is_unique:
        raise StoreError(f"statistics of {system} hold an init_time twice; give each system's folder once")
    return result.sortby("init_time")
