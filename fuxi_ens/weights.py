"""Weights on disk, written one tensor after another: memory is that of the largest tensor, whatever the model's size.

The file is plain safetensors, byte for byte what the safetensors library writes for the same tensors.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fuxi_ens.files import open_atomic

_ITEM = 4


class Weight(Protocol):
    """A float32 tensor that is read when its turn comes."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Known without reading."""

    def read(self) -> NDArray[np.float32]:
        """The values, in `shape`."""


def write_weights(path: Path, weights: Mapping[str, Weight]) -> str:
    """Write all `weights` to `path` completely or not at all; returns the SHA-256 of the file."""
    names = sorted(weights)
    header = _header({name: weights[name].shape for name in names})
    digest = hashlib.sha256(header)
    with open_atomic(path) as file:
        file.write(header)
        for name in names:
            values = np.asarray(weights[name].read(), "<f4", order="C")
            assert values.shape == weights[name].shape, f"{name}: {values.shape} is not {weights[name].shape}"
            content = values.reshape(-1).view(np.uint8).data
            file.write(content)
            digest.update(content)
    return digest.hexdigest()


def _header(shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    """Length, then names, shapes and positions as JSON, filled up with blanks to a multiple of 8 bytes."""
    entries: dict[str, Any] = {}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + _ITEM * math.prod(shape)
        entries[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
