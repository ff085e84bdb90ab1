"""GRIB files through cfgrib, which only this module imports: `pip install 'fuxi-ens[grib]'`."""

import warnings
from pathlib import Path
from typing import Any, Final

import xarray as xr

from fuxi_ens.errors import StoreError
from fuxi_ens.stores import names

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    from cfgrib import xarray_plugin
    from cfgrib.dataset import compute_index_keys, open_fileindex, open_from_index
    from cfgrib.messages import FileStream, eccodes

_PRESSURE: Final = ("isobaricInhPa", "isobaricInPa")


class _Cube(xarray_plugin.CfGribDataStore):  # type: ignore[misc]
    """One variable of a file whose index is there already; cfgrib itself would scan the file for each."""

    def __init__(self, part: Any) -> None:
        self.lock = xarray_plugin.ECCODES_LOCK
        self.ds = open_from_index(part, squeeze=False)


def grib_cubes(path: Path) -> list[xr.Dataset]:
    """One undecoded dataset per variable we know; no index file is written or read.

    Raises StoreError if there is none, OSError if the file is damaged.
    """
    # Control and perturbed members differ in dataType and are one ensemble.
    keys = [key for key in (*compute_index_keys(), "cfVarName") if key != "dataType"]
    try:
        # Otherwise a message cut short would be passed over with a line in the log.
        index = open_fileindex(FileStream(str(path), errors="raise"), indexpath="", index_keys=keys)
    except eccodes.CodesInternalError as error:
        raise OSError(str(error)) from error
    kinds = [(name, kind) for name in index["cfVarName"] for kind in index.subindex(cfVarName=name)["typeOfLevel"]]
    known = [(name, kind) for name, kind in kinds if names.is_known(name, has_levels=kind in _PRESSURE)]
    if not known:
        found = sorted(f"{name} on {kind}" for name, kind in kinds)
        raise StoreError(f"{path} holds no variable that is known here, only {found}; channels lists those that are")
    return [_cube(index.subindex(cfVarName=name, typeOfLevel=kind), name, kind) for name, kind in known]


def _cube(part: Any, name: str, kind: str) -> xr.Dataset:
    # A file may hold means and extremes beside the sums of accumulated variables and the instants of others.
    wanted = "accum" if names.is_accumulated(name) else "instant"
    if len(part["stepType"]) > 1 and wanted in part["stepType"]:
        part = part.subindex(stepType=wanted)
    cube = xr.open_dataset(_Cube(part), decode_cf=False)
    return cube if kind in _PRESSURE else cube.isel({kind: 0}, drop=True, missing_dims="ignore")
