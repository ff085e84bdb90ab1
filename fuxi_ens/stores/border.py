"""The one place where any archive's names, orientation, packing and units become ours. Nothing is read but axes.

Behind it: dims time, [prediction_timedelta, number,] [level,] latitude, longitude in the order on disk; WeatherBench
2's long names; the file units of `channels`; latitude 90..-90, longitude eastward from 0; level in hPa; times in
datetime64[ns]. `time` is the valid time of an analysis and the init time of a forecast. What a store labels wrongly
stays wrong here: `fuxi-ens data audit` judges by physics.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xarray as xr
import zarr

from fuxi_ens.assets import resolve
from fuxi_ens.errors import StoreError
from fuxi_ens.stores import decode, names
from fuxi_ens.stores.gridded_files import gridded_paths, open_cubes
from fuxi_ens.stores.init_time import with_init_time
from fuxi_ens.stores.member_files import member_folders, open_members
from fuxi_ens.stores.orient import Orientation, orient
from fuxi_ens.stores.remote import is_remote, printable
from fuxi_ens.stores.stored import OpenStore, StoredArray
from fuxi_ens.stores.valid_time import LONGEST_STEP, with_valid_time
from fuxi_ens.stores.zarr_files import RawStore, open_raw


def open_store(source: str) -> OpenStore:
    """Open a store lazily: Zarr v2 or v3 (path, gs://, s3://, https://, asset:NAME), NetCDF, GRIB, FuXi-ENS's members.

    NetCDF and GRIB may be several files, written as a pattern with `*`; only those are joined by Dask. What FuXi-ENS's
    release writes is named by the folder above `member_000`, or a pattern of such folders. Otherwise every access reads
    at once: right inside a loader or a task, where chunks would be scheduled twice. Raises StoreError when the store
    cannot be opened or understood.
    """
    if is_remote(source):
        return _from_zarr(open_raw(source), source)
    folders = member_folders(resolve(source))
    if folders:
        return OpenStore(source, orient(open_members(folders), source)[0])
    paths = gridded_paths(resolve(source))
    if paths:
        return OpenStore(source, _from_files(paths, source, dask=len(paths) > 1))
    return _from_zarr(open_raw(source), source)


def _from_zarr(raw: RawStore, source: str) -> OpenStore:
    dims = names.dims_of(raw.dataset)
    dataset = raw.dataset.rename(dims)
    variables = names.variables_of(dataset)
    dataset = _in_file_units(dataset.rename(variables))
    ready, orientation = orient(with_init_time(decode.decoded(dataset, source)), source)
    renamed = {**dims, **variables}
    arrays = {
        renamed.get(stored, stored): _stored(dataset.variables[renamed.get(stored, stored)], array, orientation)
        for stored, array in raw.arrays.items()
    }
    return OpenStore(printable(source), ready, arrays)


def _stored(variable: xr.Variable, array: zarr.Array[Any], orientation: Orientation) -> StoredArray:
    """How an array lies on disk; `variable` holds its numbers as stored."""
    scale, offset = decode.packing(variable)
    return StoredArray(
        array,
        tuple(map(str, variable.dims)),
        scale,
        offset,
        decode.missing(variable),
        reversed_latitude=orientation.reversed_latitude and "latitude" in variable.dims,
        longitude_shift=orientation.longitude_shift if "longitude" in variable.dims else 0,
    )


def _from_files(paths: Sequence[Path], source: str, *, dask: bool) -> xr.Dataset:
    cubes = [_from_cube(cube, source) for path in paths for cube in open_cubes(path, dask=dask)]
    steps = [cube.attrs[LONGEST_STEP] for cube in cubes if LONGEST_STEP in cube.attrs]
    try:
        joined = cubes[0] if len(cubes) == 1 else _joined(cubes, one_file=len(paths) == 1)
    except ValueError as error:
        raise StoreError(
            f"the files of {source} do not fit together ({error}); name files of one grid that follow each other"
        ) from error
    if steps:  # joining drops an attribute in which files differ
        joined = joined.assign_attrs({LONGEST_STEP: max(steps)})
    return orient(joined, source)[0]


def _from_cube(cube: xr.Dataset, source: str) -> xr.Dataset:
    if "expver" in cube.dims:
        raise StoreError(
            f"{source} keeps ERA5 and its preliminary ERA5T apart in the dimension expver; fetch the file again from "
            "the new Climate Data Store, which joins them"
        )
    for variable in cube.variables.values():
        decode.settle_missing(variable, stated=True)
    cube = names.with_axes(cube.rename(names.dims_of(cube)))
    cube = _in_file_units(cube.rename(names.variables_of(cube)))
    # What remains beside the axes are labels of the archive (expver, surface, valid_time), which differ between files.
    return with_valid_time(with_init_time(decode.decoded(cube, source)).reset_coords(drop=True))


def _joined(cubes: Sequence[xr.Dataset], *, one_file: bool) -> xr.Dataset:
    if one_file:
        return xr.merge(cubes, join="outer", compat="override", combine_attrs="drop_conflicts")
    joined = xr.combine_by_coords(cubes, join="outer", data_vars="minimal", combine_attrs="drop_conflicts")
    assert isinstance(joined, xr.Dataset), "datasets in, dataset out"
    return joined


def _in_file_units(dataset: xr.Dataset) -> xr.Dataset:
    dataset = names.levels_in_hpa(dataset)
    decode.state_units(dataset)
    return dataset
