"""The ensemble store: WeatherBench 2 names and dims, Zarr v3, written file by file, each by one process.

What is finished is marked (`fuxi_ens.stores.finished`), after all its data. A run that was killed makes the unmarked
blocks again, with equal results.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from fuxi_ens.data.era5 import Frames
from fuxi_ens.errors import StoreError
from fuxi_ens.files import sync_folder, write_atomic
from fuxi_ens.forecast.creation import create_store
from fuxi_ens.forecast.layout import Layout
from fuxi_ens.stores.finished import BLOCKS, block_name, marker, note
from fuxi_ens.times import Leads, Times

_IDENTITY = ("config_hash", "weights_hash", "analysis_store")


class ForecastStore:
    """A store under construction."""

    def __init__(self, path: Path, layout: Layout, provenance: Mapping[str, Any]) -> None:
        """Create the store, or open it to go on. Raises StoreError when another forecast is already there."""
        self.layout, self._path = layout, path
        attributes = {
            **provenance,
            BLOCKS: [block_name(numbers) for numbers in layout.blocks],
            "Conventions": "CF-1.11",
            "product": "ensemble forecast",
        }
        if not (path / "zarr.json").exists():
            create_store(path, layout, attributes)
        self._check_identity(attributes)
        self._arrays = zarr.open_group(path, mode="r+")

    def is_finished(self, init_time: np.datetime64, numbers: range) -> bool:
        """Whether everything of a block of members is on disk."""
        return marker(self._path, init_time, block_name(numbers)).exists()

    def write(self, init_time: np.datetime64, numbers: range, first_lead: int, name: str, values: Frames) -> None:
        """Write the file of a variable for a block of members and a run of lead times, and flush it to the disk.

        `values` are [member, lead, (level,) latitude, longitude] in file units. Raises OSError for a full disk too.
        """
        row = int(np.flatnonzero(self.layout.init_times == init_time)[0])
        array = self._arrays[name]
        assert isinstance(array, zarr.Array)
        file = self._file(array, row, numbers, first_lead)
        _clear(file)
        array[row, numbers[0] : numbers[-1] + 1, first_lead : first_lead + values.shape[1]] = values
        _flush(file)

    def finish(self, init_time: np.datetime64, numbers: range, content: bytes = b"") -> None:
        """Mark a block of members as finished; `content` is kept in the marker."""
        for variable in self.layout.variables:
            sync_folder(self._path / variable.name)
        write_atomic(marker(self._path, init_time, block_name(numbers)), content)

    def note(self, init_time: np.datetime64, numbers: range) -> bytes:
        """What `finish` was given for a block; empty if it was not called."""
        return note(self._path, init_time, block_name(numbers))

    def _file(self, array: "zarr.Array[Any]", row: int, numbers: range, first_lead: int) -> Path:
        index = (row, numbers[0] // self.layout.block_size, first_lead // self.layout.shard_leads)
        key = array.metadata.encode_chunk_key((*index, *[0] * (array.ndim - len(index))))
        return self._path / array.path / key

    def _check_identity(self, attributes: Mapping[str, Any]) -> None:
        """The store must be this forecast: same settings, same weights, same coordinates.

        Versions of libraries may differ: an upgrade in the middle of a long run is the user's decision.
        """
        try:
            with xr.open_zarr(self._path, chunks=None) as found:
                same = (
                    _equal(found["time"].values, self.layout.init_times, "datetime64[ns]")
                    and found.sizes["number"] == self.layout.members
                    and _equal(found["prediction_timedelta"].values, self.layout.lead_times, "timedelta64[ns]")
                    and all(found.attrs.get(key) == attributes.get(key) for key in (*_IDENTITY, BLOCKS))
                )
        except (KeyError, ValueError, OSError) as error:
            raise StoreError(f"{self._path} is not a forecast store ({error}); move it away") from error
        if not same:
            raise StoreError(
                f"{self._path} holds another forecast (other model, settings, init times or members); "
                "delete it, or choose another run.folder"
            )


def _equal(found: np.ndarray[Any, Any], expected: Times | Leads, dtype: str) -> bool:
    return np.array_equal(found.astype(dtype), expected.astype(dtype))


def _clear(file: Path) -> None:
    """Remove what a killed run left of a file: zarr would read and merge it, or its half-written forerunner stay."""
    file.unlink(missing_ok=True)
    for partial in _partials(file):
        partial.unlink(missing_ok=True)


def _partials(file: Path) -> Sequence[Path]:
    """Zarr writes a file under a name of its own first, `c.0.0.0.0.UUID.partial` for `c.0.0.0.0.0`."""
    return list(file.parent.glob(f"{file.stem}.*.partial"))


def _flush(file: Path) -> None:
    if not file.exists():
        # Zarr leaves out what holds nothing but NaN: all members were given up.
        return
    with file.open("rb") as handle:
        os.fsync(handle.fileno())
