"""Metadata and coordinates of an ensemble store, made once, whoever comes first."""

import errno
import shutil
import uuid
import warnings
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import xarray as xr
import zarr
from zarr.codecs import BloscCodec

from fuxi_ens.forecast.layout import Layout, StoredVariable

_DIMS = ("time", "number", "prediction_timedelta", "latitude", "longitude")
_LEVEL_DIMS = (*_DIMS[:3], "level", *_DIMS[3:])


def create_store(path: Path, layout: Layout, attributes: dict[str, Any]) -> None:
    """Make a store without fields; what nobody has written yet reads as NaN.

    It is made under a name of its own and renamed, so that a store either has all its metadata or does not exist. Of
    processes that create it at the same moment the first one wins; what the others made is equal, and dropped.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    dataset = xr.Dataset(
        {variable.name: _template(layout, variable) for variable in layout.variables},
        coords={
            "time": layout.init_times,
            "number": ("number", np.arange(layout.members, dtype=np.int32), {"standard_name": "realization"}),
            "prediction_timedelta": layout.lead_times,
            "latitude": ("latitude", layout.grid.latitude, {"units": "degrees_north", "standard_name": "latitude"}),
            "longitude": ("longitude", layout.grid.longitude, {"units": "degrees_east", "standard_name": "longitude"}),
        },
        attrs=attributes,
    )
    encoding = {variable.name: _encoding(layout, variable) for variable in layout.variables}
    encoding["time"] = {"units": "hours since 1970-01-01", "dtype": "int64"}
    encoding["prediction_timedelta"] = {"units": "hours", "dtype": "int64"}
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with warnings.catch_warnings():
            # Consolidated metadata is an extension of Zarr v3 that xarray reads, and misses loudly when it is absent.
            warnings.filterwarnings("ignore", "Consolidated metadata", category=zarr.errors.ZarrUserWarning)
            dataset.to_zarr(partial, mode="w", compute=False, zarr_format=3, consolidated=True, encoding=encoding)
        partial.rename(path)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def _template(layout: Layout, variable: StoredVariable) -> xr.DataArray:
    shape = (len(layout.init_times), layout.members, len(layout.lead_times), *layout.fields_of(variable))
    attributes = {
        "units": variable.variable.file_units,
        "long_name": variable.variable.name.replace("_", " "),
    }
    keep_bits = layout.keep_bits.get(variable.variable.short)
    if keep_bits is not None:
        attributes["quantization"] = f"mantissa rounded to {keep_bits} bits"
    # An array that is never computed: to_zarr(compute=False) takes its shape and type.
    unwritten = dask.array.full(shape, np.nan, dtype=np.float32, chunks=shape)
    if not variable.levels:
        return xr.DataArray(unwritten, dims=_DIMS, attrs=attributes)
    levels = {"level": np.array(variable.levels, np.int32)}
    return xr.DataArray(unwritten, dims=_LEVEL_DIMS, coords=levels, attrs=attributes)


def _encoding(layout: Layout, variable: StoredVariable) -> dict[str, Any]:
    fields = layout.fields_of(variable)
    return {
        # One level, so that a reader of one level decodes no other, threads of the writer share a variable's work, and
        # no chunk comes near the 2 GiB that Blosc takes.
        "chunks": (1, layout.block_size, 1, *[1] * len(fields[:-2]), *fields[-2:]),
        "shards": (1, layout.block_size, layout.shard_leads, *fields),
        "compressors": BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"),
        # Files beside each other: a folder for each index of a chunk would triple the number of inodes.
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": np.nan,
    }
