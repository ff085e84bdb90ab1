"""What an open store is: a lazy dataset in our vocabulary, and how each of its arrays lies on disk."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import xarray as xr
import zarr


@dataclass(frozen=True)
class StoredArray:
    """One array of a Zarr store, and what turns its numbers into ours.

    value in file units = stored number * scale + offset; packing and a change of units are one step.
    """

    array: zarr.Array[Any]
    dims: tuple[str, ...]
    """Our names of its dimensions, in the order on disk."""
    scale: float = 1.0
    offset: float = 0.0
    missing: tuple[float, ...] = ()
    """Stored numbers that mean "no value"; NaN is always missing."""
    reversed_latitude: bool = False
    """Whether latitude runs south to north on disk."""
    longitude_shift: int = 0
    """Columns by which a row on disk must be rolled to the left to start at 0 degrees east."""


@dataclass(frozen=True)
class OpenStore:
    """A store behind the border: our names, dimensions and orientation, the file units of `channels`."""

    source: str
    """As the user wrote it: a path, a URL, or asset:NAME."""
    dataset: xr.Dataset
    """Lazy; latitude 90..-90, longitude eastward from 0."""
    arrays: Mapping[str, StoredArray] = field(default_factory=dict)
    """By our name; empty unless the store is Zarr. Reading chunks through it is what `Fields` does."""
