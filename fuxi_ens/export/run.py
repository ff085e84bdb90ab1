"""Export of a store, file by file; what is complete is left alone."""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import pandas as pd

from fuxi_ens.channels import Variable
from fuxi_ens.errors import StoreError, UserError
from fuxi_ens.export.netcdf import write_netcdf
from fuxi_ens.export.source import Source, Wanted, choose
from fuxi_ens.files import write_atomic
from fuxi_ens.progress import progress
from fuxi_ens.stores.finished import finished, is_ours
from fuxi_ens.times import Times, hours, label
from fuxi_ens.verify.open import ForecastStore, open_forecast

log = logging.getLogger(__name__)

MANIFEST = "export.json"
"""File in the folder that says what all its files hold."""


class Format(StrEnum):
    """File formats."""

    NETCDF = "netcdf"
    GRIB = "grib"
    """GRIB2."""


_SUFFIX = {Format.NETCDF: ".nc", Format.GRIB: ".grib2"}


@dataclass(frozen=True)
class _Manifest:
    """What must be equal for files to lie in one folder; the init times need not."""

    format: str
    store: str
    forecast: str
    channels: list[str]
    members: list[int]
    lead_hours: list[float]
    per_variable: bool


def export(store: str, folder: Path, file_format: Format, wanted: Wanted, *, per_variable: bool = False) -> list[Path]:
    """Write one file per init time, or per init time and variable; returns all of them, those found there too.

    Init times of a store that are not finished are left out, unless they were asked for by name. Raises UserError for
    what the store lacks and for a folder with another export, before anything is written.
    """
    opened = open_forecast(store)
    init_times = _finished(Path(store), opened, wanted.init_times)
    source = choose(opened, Wanted(init_times, wanted.members, wanted.lead_hours, wanted.channels))
    write = _writer(file_format)
    _claim(folder, _manifest(source, file_format, per_variable))
    pieces = list(_pieces(source, folder, _SUFFIX[file_format], per_variable))
    with progress("export", len(pieces)) as advance:
        for path, init_time, variables in pieces:
            if not path.exists():
                write(path, source, init_time, variables)
            advance(1, path.name)
    return [path for path, _, _ in pieces]


_Write = Callable[[Path, Source, np.datetime64, tuple[Variable, ...]], None]


def _writer(file_format: Format) -> _Write:
    if file_format is Format.NETCDF:
        return write_netcdf
    try:
        from fuxi_ens.export.grib import write_grib
    except (ImportError, RuntimeError) as error:
        raise UserError(f"GRIB files need ecCodes: pip install 'fuxi-ens[grib]' ({error})") from error

    def write(path: Path, source: Source, init_time: np.datetime64, variables: tuple[Variable, ...]) -> None:
        written = write_grib(path, source, init_time, variables)
        if written.left_out:
            log.warning(
                "%s: %d messages; %d fields hold no value and were left out", path, written.messages, written.left_out
            )

    return write


def _finished(folder: Path, store: ForecastStore, wanted: Times | None) -> Times | None:
    """The init times that are wholly in a store of ours; stores of other origin do not tell."""
    if not is_ours(store.dataset.attrs) or not folder.is_dir():
        return wanted
    asked = np.intersect1d(store.init_times, store.init_times if wanted is None else wanted)
    done = finished(folder, asked)
    if done.all():
        return wanted
    if wanted is not None or not done.any():
        raise StoreError(
            f"{store.source}: the forecast from {label(asked[~done][0])} is not finished; run `fuxi-ens forecast` again"
        )
    log.warning("%d of %d init times are not finished and are left out", (~done).sum(), len(done))
    left: Times = asked[done]
    return left


def _manifest(source: Source, file_format: Format, per_variable: bool) -> _Manifest:
    attributes = source.store.dataset.attrs
    return _Manifest(
        format=file_format,
        store=source.store.source,
        forecast=" ".join(str(attributes[key]) for key in ("config_hash", "weights_hash") if key in attributes),
        channels=list(source.channels),
        members=source.members.tolist(),
        lead_hours=[float(lead / hours(1)) for lead in source.leads],
        per_variable=per_variable,
    )


def _claim(folder: Path, manifest: _Manifest) -> None:
    """Say in the folder what its files hold. Raises UserError when they hold something else."""
    path = folder / MANIFEST
    values = asdict(manifest)
    if not path.exists():
        write_atomic(path, json.dumps(values, indent=1).encode())
        return
    try:
        found = json.loads(path.read_text())
        differing = [key for key, value in values.items() if found.get(key) != value]
    except (ValueError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error}); delete {folder} or choose another --out") from error
    if differing:
        key = differing[0]
        raise UserError(
            f"{folder} holds an export with {key} {found.get(key)}, asked for is {values[key]}; choose another --out"
        )


def _pieces(
    source: Source, folder: Path, suffix: str, per_variable: bool
) -> Iterator[tuple[Path, np.datetime64, tuple[Variable, ...]]]:
    for init_time in source.init_times:
        stem = f"{pd.Timestamp(init_time):%Y-%m-%dT%H%M}"
        if per_variable:
            for variable in source.variables:
                yield folder / f"{stem}_{variable.file_name}{suffix}", init_time, (variable,)
        else:
            yield folder / f"{stem}{suffix}", init_time, source.variables
