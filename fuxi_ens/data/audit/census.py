"""How large the chunks of all times are on disk: absent and conspicuously small ones are found without decoding."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from obstore.exceptions import BaseError

from fuxi_ens.channels import channel
from fuxi_ens.progress import Advance
from fuxi_ens.stores import Fields
from fuxi_ens.stores.remote import is_remote

Flags = NDArray[np.bool_]

SMALL: Final = 0.6
"""A chunk smaller than this share of the channel's median is read. Sound chunks of a channel are nearly alike; fields
of one value take less than a tenth."""
_BLOCK: Final = 1024
_MOST_FILES: Final = 5_000_000
_MOST_OBJECTS: Final = 300_000
"""Of a bucket, listed a thousand per request."""
_MOST_SHARDS: Final = 2_000
"""Of a bucket: each needs a request of its own."""


@dataclass(frozen=True)
class Census:
    """Flags, [time, channel]."""

    absent: Flags
    small: Flags
    looked_at: str
    """What was counted, or why nothing was."""


def take_census(fields: Fields, source: str, inside: Flags, advance: Advance) -> Census:
    """Sizes of the chunks at the times `inside`, as far as they can be had at a bounded cost."""
    nothing = np.zeros((len(fields.times), len(fields.channels)), bool)
    refusal = _refusal(fields, source, int(inside.sum()))
    if refusal:
        return Census(nothing, nothing, f"no chunk sizes: {refusal}")
    where = np.flatnonzero(inside)
    sizes = np.full(nothing.shape, -1, np.int64)
    try:
        for start in range(0, len(where), _BLOCK):
            block = where[start : start + _BLOCK]
            sizes[block] = fields.stored_bytes(block)
            advance(len(block), "")
    except (BaseError, OSError, ValueError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:120]
        return Census(nothing, nothing, f"no chunk sizes: they cannot be listed ({reason})")
    known = np.where(sizes > 0, sizes, np.nan)
    median = np.array([np.nanmedian(c) if np.isfinite(c).any() else np.nan for c in known.T])
    per_chunk = _times_per_chunk(fields)
    within = "" if per_chunk == 1 else f"; a chunk holds {per_chunk} times, single times inside are not seen"
    return Census(sizes == 0, known < SMALL * median, f"the chunk sizes of {len(where)} times{within}")


def _refusal(fields: Fields, source: str, times: int) -> str:
    """Why the census is not taken; empty if it is."""
    arrays = [fields.store.arrays[name].array for name in _stored_names(fields) if name in fields.store.arrays]
    if not arrays:
        return "NetCDF and GRIB files have none"
    if source.startswith(("http://", "https://")):
        return "a web server cannot list its files"
    files = sum(times * int(np.prod(array.cdata_shape[1:])) for array in arrays)
    sharded = any(array.shards for array in arrays)
    most = _MOST_FILES if not is_remote(source) else _MOST_SHARDS if sharded else _MOST_OBJECTS
    if is_remote(source):
        files = sum(
            int(np.prod([-(-n // c) for n, c in zip(a.shape, a.shards or a.chunks, strict=True)])) for a in arrays
        )
    return f"{files} files are too many to ask for each" if files > most else ""


def _stored_names(fields: Fields) -> set[str]:
    variables = {channel(name).variable for name in fields.channels}
    return {n for v in variables for n in (v.file_name, v.name)}


def _times_per_chunk(fields: Fields) -> int:
    stored = [fields.store.arrays[name] for name in _stored_names(fields) if name in fields.store.arrays]
    return max((s.array.chunks[s.dims.index("time")] for s in stored if "time" in s.dims), default=1)
