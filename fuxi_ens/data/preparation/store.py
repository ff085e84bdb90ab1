"""The training store under construction: its metadata, what is finished, and when it may be read.

Layout: WeatherBench 2 names and dims, Zarr v3, a chunk per time with all levels, a shard per run of times. While it is
written the store says that it is unfinished, and the border refuses it. Each finished shard is noted in a journal with
size and checksum after it is on disk; at the end the journal becomes the manifest.
"""

import fcntl
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import dask.array
import numpy as np
import xarray as xr
import zarr
from zarr.codecs import BloscCname, BloscCodec, Crc32cCodec

from fuxi_ens.config import PrepareConfig
from fuxi_ens.data.preparation.plan import Plan, PlannedVariable
from fuxi_ens.data.preparation.shard import ShardRecord
from fuxi_ens.errors import StoreError
from fuxi_ens.files import write_atomic
from fuxi_ens.stores.zarr_files import PREPARE_STATE

MANIFEST: Final = "manifest.json"
_PLAN: Final = "fuxi_ens_prepare_plan"
_WORK: Final = ".prepare"
_DIMS: Final = ("time", "latitude", "longitude")
_LEVEL_DIMS: Final = ("time", "level", "latitude", "longitude")


class TrainingStore:
    """The store that `create_store` began."""

    def __init__(self, plan: Plan) -> None:
        """Raises StoreError when something else is there, or a store of another plan."""
        self._path, self._journal = plan.target, plan.target / _WORK / "journal.jsonl"
        found = _attributes(plan.target)
        _refuse_other_plan(plan, found)
        self.is_complete: bool = found[PREPARE_STATE] == "complete"

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the store against readers and a second `prepare`; remove what a killed one left half written."""
        self._journal.parent.mkdir(exist_ok=True)
        with (self._path / _WORK / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StoreError(f"another `fuxi-ens data prepare` is writing {self._path}; wait for it") from error
            self._set_state("unfinished")
            for partial in self._path.rglob("*.partial"):
                partial.unlink()
            # Without the line that a kill may have cut, to which the next one would be appended.
            write_atomic(self._journal, b"".join(map(_line, self.finished().values())))
            yield

    def finished(self) -> dict[str, ShardRecord]:
        """Shards that are on disk in full, by path: noted as finished, and still of the size that was noted."""
        records = [*_records(self._path / MANIFEST, _of_manifest), *_records(self._journal, _of_journal)]
        return {r.path: r for r in records if (self._path / r.path).is_file() and self._size(r) == r.bytes}

    def note(self, record: ShardRecord) -> None:
        """Declare a shard finished."""
        with self._journal.open("ab") as journal:
            journal.write(_line(record))
            journal.flush()
            os.fsync(journal.fileno())

    def complete(self, records: dict[str, ShardRecord]) -> None:
        """Write the manifest and let readers in."""
        shards = [asdict(records[path]) for path in sorted(records)]
        write_atomic(self._path / MANIFEST, json.dumps({"schema": 1, "shards": shards}, indent=1).encode() + b"\n")
        shutil.rmtree(self._path / _WORK)
        self._set_state("complete")

    def _size(self, record: ShardRecord) -> int:
        return (self._path / record.path).stat().st_size

    def _set_state(self, state: str) -> None:
        file = self._path / "zarr.json"
        root = json.loads(file.read_bytes())
        if root["attributes"][PREPARE_STATE] != state:
            root["attributes"][PREPARE_STATE] = state
            write_atomic(file, json.dumps(root, indent=2).encode())


def _attributes(path: Path) -> dict[str, Any]:
    try:
        attributes: dict[str, Any] = json.loads((path / "zarr.json").read_bytes())["attributes"]
    except (OSError, ValueError, KeyError, TypeError):
        attributes = {}
    if _PLAN not in attributes or PREPARE_STATE not in attributes:
        raise StoreError(
            f"{path} is there and was not made by `fuxi-ens data prepare`; move it away, or choose another data.store"
        )
    return attributes


def _refuse_other_plan(plan: Plan, found: dict[str, Any]) -> None:
    there, asked = found[_PLAN], plan.identity()
    different = [key for key in asked if there.get(key) != asked[key]]
    if different:
        listed = "; ".join(f"{key}: there {there.get(key)}, asked {asked[key]}" for key in different)
        raise StoreError(
            f"{plan.target} was begun with another plan ({listed}); a store cannot change or grow once it is begun: "
            "choose another data.store, or delete this one"
        )


def _records(file: Path, parse: Callable[[bytes], list[dict[str, Any]]]) -> list[ShardRecord]:
    if not file.exists():
        return []
    try:
        return [ShardRecord(**shard) for shard in parse(file.read_bytes())]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{file} is damaged ({error}); delete it, and its shards are written again") from error


def _of_manifest(content: bytes) -> list[dict[str, Any]]:
    shards: list[dict[str, Any]] = json.loads(content)["shards"]
    return shards


def _of_journal(content: bytes) -> list[dict[str, Any]]:
    """Complete lines only: a kill may have cut the last one, and then its shard is written again."""
    return [json.loads(line) for line in content.split(b"\n")[:-1]]


def _line(record: ShardRecord) -> bytes:
    return json.dumps(asdict(record)).encode() + b"\n"


def create_store(plan: Plan, static: xr.Dataset, attributes: dict[str, Any]) -> None:
    """Metadata, coordinates and static fields, under a temporary name: a store has all of them or does not exist."""
    partial = plan.target.with_name(f".{plan.target.name}.partial")
    dataset = xr.Dataset(
        {variable.name: _template(plan, variable) for variable in plan.variables},
        coords={
            "time": ("time", plan.times, {"standard_name": "time"}),
            "latitude": ("latitude", plan.grid.latitude, {"units": "degrees_north", "standard_name": "latitude"}),
            "longitude": ("longitude", plan.grid.longitude, {"units": "degrees_east", "standard_name": "longitude"}),
        },
        attrs={
            **attributes,
            PREPARE_STATE: "unfinished",
            _PLAN: plan.identity(),
            "Conventions": "CF-1.11",
            "product": "analysis",
        },
    ).merge(static)
    encoding = {variable.name: _encoding(plan, variable) for variable in plan.variables}
    encoding |= {str(n): {"chunks": a.shape, "compressors": codecs(plan.settings)} for n, a in static.items()}
    encoding["time"] = {"units": "hours since 1970-01-01", "dtype": "int64", "chunks": plan.times.shape}
    plan.target.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # Consolidated metadata is an extension of Zarr v3 that xarray reads, and misses loudly when it is not there.
        warnings.filterwarnings("ignore", "Consolidated metadata", category=zarr.errors.ZarrUserWarning)
        dataset.to_zarr(partial, mode="w", compute=False, zarr_format=3, consolidated=True, encoding=encoding)
    partial.rename(plan.target)


def _template(plan: Plan, planned: PlannedVariable) -> xr.DataArray:
    """An array that is never computed: to_zarr(compute=False) takes its shape and type."""
    shape = (len(plan.times), *plan.shape(planned))
    unwritten = dask.array.full(shape, np.nan, dtype=np.float32, chunks=shape)
    attributes = {"units": planned.variable.file_units, "long_name": planned.variable.name.replace("_", " ")}
    coords = {"level": ("level", np.array(plan.levels, np.int64), {"units": "hPa"})} if planned.rows else {}
    return xr.DataArray(unwritten, dims=_LEVEL_DIMS if planned.rows else _DIMS, coords=coords, attrs=attributes)


def _encoding(plan: Plan, planned: PlannedVariable) -> dict[str, Any]:
    shape = plan.shape(planned)
    return {
        "chunks": (1, *shape),
        "shards": (plan.times_per_shard, *shape),
        "compressors": codecs(plan.settings),
        "fill_value": np.nan,
    }


def file_count(plan: Plan) -> int:
    """Files of the finished store."""
    small = ["time", "latitude", "longitude", "level", "orography", "land-sea mask"]
    if not plan.levels:
        small.remove("level")
    # Each array has its metadata, small ones a single chunk; the group has its metadata, and there is the manifest.
    return plan.shard_count + len(plan.variables) + 2 * len(small) + 2


def codecs(settings: PrepareConfig) -> list[Any]:
    """Compression, then a checksum per chunk, so that a bit that flips on the disk is noticed when it is read."""
    name = BloscCname(settings.codec.removeprefix("blosc-"))
    return [BloscCodec(cname=name, clevel=settings.codec_level, shuffle="shuffle", typesize=4), Crc32cCodec()]
