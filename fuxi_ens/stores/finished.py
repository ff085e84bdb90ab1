"""Which init times of an ensemble store of ours are whole. Markers lie inside it, so that they cannot outlive it.

A block of members of one init time has a marker of its own. An init time is whole when all its blocks are.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fuxi_ens.times import Times, label

BLOCKS: Final = "member_blocks"
"""Attribute of a store that is written block by block: the blocks of members, as the markers name them."""
_FOLDER: Final = ".complete"


def block_name(numbers: range) -> str:
    """A block of members in an attribute and in the names of markers: 0-24."""
    return f"{numbers[0]}-{numbers[-1]}"


def marker(store: Path, init_time: np.datetime64, block: str) -> Path:
    """File whose existence says that a block of members of an init time is whole."""
    return store / _FOLDER / f"{label(init_time)}_{block}"


def is_ours(attributes: dict[Any, Any]) -> bool:
    """Whether a store with these attributes marks what is finished."""
    return BLOCKS in attributes


def finished(store: Path, init_times: Sequence[np.datetime64] | Times) -> NDArray[np.bool_]:
    """Which of `init_times` are wholly in the store at this path; none where there is no store of ours."""
    blocks = _blocks(store)
    done = [bool(blocks) and all(marker(store, time, block).exists() for block in blocks) for time in init_times]
    return np.array(done, dtype=bool)


def note(store: Path, init_time: np.datetime64, block: str) -> bytes:
    """What the marker of a block says of members that were given up; empty if none was, or the block is not whole."""
    path = marker(store, init_time, block)
    return path.read_bytes() if path.exists() else b""


def impaired(store: Path, init_times: Sequence[np.datetime64] | Times) -> NDArray[np.bool_]:
    """Which of `init_times` lack members that were given up."""
    blocks = _blocks(store)
    return np.array([any(note(store, time, block) for block in blocks) for time in init_times], dtype=bool)


def _blocks(store: Path) -> list[str]:
    """Names of the blocks of a store of ours; none elsewhere."""
    try:
        attributes = json.loads((store / "zarr.json").read_text())["attributes"]
    except (OSError, ValueError, KeyError):
        return []
    blocks: list[str] = attributes.get(BLOCKS, [])
    return blocks
