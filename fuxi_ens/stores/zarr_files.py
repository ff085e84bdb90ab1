"""Zarr stores as they lie, nothing decoded: stored numbers, arrays, and which numbers mean "no value"."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import xarray as xr
import zarr

from fuxi_ens.errors import StoreError
from fuxi_ens.stores.decode import settle_missing
from fuxi_ens.stores.remote import ATTEMPTS, is_remote, printable, zarr_store

PREPARE_STATE: Final = "fuxi_ens_prepare"
"""Attribute of the root group that `data prepare` sets to `unfinished` until everything is written."""


@dataclass(frozen=True)
class RawStore:
    """Stored numbers under the names of the store."""

    dataset: xr.Dataset
    """Undecoded; attributes scale_factor, add_offset, _FillValue and missing_value as a decoder should apply them."""
    arrays: Mapping[str, zarr.Array[Any]]


def open_raw(source: str) -> RawStore:
    """Open a Zarr store of format 2 or 3. Raises StoreError that says what is wrong with it."""
    from obstore.exceptions import BaseError

    keys = zarr_store(source)
    try:
        with warnings.catch_warnings():
            # A store without consolidated metadata opens more slowly and is otherwise as good.
            warnings.filterwarnings("ignore", "Failed to open Zarr store with consolidated", RuntimeWarning)
            opened = xr.backends.ZarrStore.open_group(keys, mode="r", consolidated=None)
            # Values are decoded later, in one step with the change of units.
            dataset = xr.open_dataset(opened, decode_cf=False, chunks=None)
    except (OSError, ValueError, KeyError, TypeError, BaseError) as error:
        raise StoreError(_refusal(source, error)) from error
    _check(source, dataset)
    arrays = {name: array for name, array in opened.members.items() if isinstance(array, zarr.Array)}
    for name, array in arrays.items():
        settle_missing(dataset.variables[name], stated="_FillValue" in array.attrs or "missing_value" in array.attrs)
    return RawStore(dataset, arrays)


def _check(source: str, dataset: xr.Dataset) -> None:
    if dataset.attrs.get(PREPARE_STATE) == "unfinished":
        raise StoreError(
            f"{printable(source)}: prepare isn't finished; run `fuxi-ens data prepare CONFIG` again, it goes on"
        )
    if not dataset.variables:
        raise StoreError(f"{printable(source)} is a Zarr group without arrays; check the path")


def _refusal(source: str, error: Exception) -> str:
    # The libraries append their own inner state after the first sentence.
    reason = printable(" ".join(str(error).partition("Debug source")[0].split()))
    source = printable(source)
    if not is_remote(source):
        return f"cannot open {source} as a Zarr store ({reason}); check the path in the config"
    if isinstance(error, FileNotFoundError):
        return f"there is no Zarr store at {source} ({reason}); check the address in the config"
    if "PROPFIND" in reason:
        return (
            f"cannot open {source}: a web server does not list files, so the store needs consolidated metadata; "
            "have its owner run zarr.consolidate_metadata"
        )
    return (
        f"cannot open {source} ({reason}), tried up to {ATTEMPTS} times; check the address, the network and the proxy, "
        "and for a bucket that is not public the credentials in the environment"
    )
