"""Tensors of an ONNX file with the place and the direction of their use. Values stay on disk until they are asked for.

The file comes from outside: every offset, length and path in it is checked before it is followed.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuxi_ens.errors import StoreError, UserError

_FLOAT32 = 1
_EXTERNAL = 1
_ITEM = 4
_PASSING = ("Identity", "Cast")


@dataclass(frozen=True, slots=True)
class Region:
    """Bytes of a weights file that hold one float32 tensor."""

    path: Path
    offset: int
    shape: tuple[int, ...]

    def read(self) -> NDArray[np.float32]:
        """A view of the file; nothing is loaded before it is used."""
        if 0 in self.shape:
            return np.empty(self.shape, np.float32)
        flat = np.memmap(self.path, "<f4", "r", self.offset, (math.prod(self.shape),))
        return flat.reshape(self.shape)


@dataclass(frozen=True, slots=True)
class Inline:
    """A small tensor inside the graph file."""

    values: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the values."""
        return self.values.shape

    def read(self) -> NDArray[np.float32]:
        """The values."""
        return self.values


@dataclass(frozen=True, slots=True)
class Use:
    """A node that takes a tensor: operator, its scope in the exported module, and which operand the tensor is."""

    operator: str
    scope: str
    operand: int
    in_out: bool
    """Whether a matrix must be stored as [in, out] for this use, the reverse of torch; means nothing for other
    operators than MatMul and Gemm."""


@dataclass(frozen=True, slots=True)
class Initializer:
    """A constant of the graph."""

    name: str
    shape: tuple[int, ...]
    is_float32: bool
    uses: tuple[Use, ...]
    source: Region | Inline | None
    """None where the values are of another type than float32."""


def read_initializers(path: Path) -> list[Initializer]:
    """All constants of the graph in `path`. Raises StoreError for a file that is damaged or points outside itself."""
    graph = _load(path).graph
    takers = _Takers(graph.node)
    return [
        Initializer(
            name=tensor.name,
            shape=tuple(tensor.dims),
            is_float32=tensor.data_type == _FLOAT32,
            uses=tuple(takers.uses(tensor.name)),
            source=_source(path, tensor) if tensor.data_type == _FLOAT32 else None,
        )
        for tensor in graph.initializer
    ]


def _load(path: Path) -> Any:
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ModuleNotFoundError as error:
        raise UserError(f"reading {path} needs {error.name}; install fuxi-ens[onnx]") from error
    try:
        return onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise StoreError(f"{path} is no ONNX file, or is damaged: {error}") from error


def _source(path: Path, tensor: Any) -> Region | Inline:
    shape = tuple(tensor.dims)
    if any(size < 0 for size in shape):
        raise StoreError(f"{tensor.name} in {path} has the impossible shape {shape}")
    if tensor.data_location == _EXTERNAL:
        return _region(path, tensor, shape)
    from onnx import numpy_helper

    try:
        return Inline(numpy_helper.to_array(tensor).astype(np.float32, copy=False))
    except (ValueError, TypeError) as error:
        raise StoreError(f"{tensor.name} in {path} does not hold what its shape {shape} needs: {error}") from error


def _region(path: Path, tensor: Any, shape: tuple[int, ...]) -> Region:
    said = {entry.key: entry.value for entry in tensor.external_data}
    folder = path.parent.resolve()
    weights = (folder / said.get("location", "")).resolve()
    if not weights.is_relative_to(folder):
        raise StoreError(
            f"{tensor.name} in {path} points to {weights}, outside its folder; the file is not to be trusted"
        )
    if not weights.is_file():
        raise StoreError(f"{tensor.name} in {path} points to {weights}, which is no file; both files belong together")
    needed = _ITEM * math.prod(shape)
    try:
        offset = int(said.get("offset", "0"))
        length = int(said.get("length", needed))
    except ValueError as error:
        raise StoreError(f"the position of {tensor.name} in {path} is no number: {said}") from error
    size = weights.stat().st_size
    if length != needed or offset < 0 or offset + needed > size:
        raise StoreError(
            f"{tensor.name} of shape {shape} needs {needed} bytes; {path} says bytes {offset} to {offset + length} of "
            f"{weights}, which has {size}; get both files again"
        )
    return Region(weights, offset, shape)


class _Takers:
    """Finds the nodes that work with a tensor, through those that only pass it on or transpose it."""

    def __init__(self, nodes: Iterable[Any]) -> None:
        self._takers: dict[str, list[tuple[Any, int]]] = defaultdict(list)
        for node in nodes:
            for operand, name in enumerate(node.input):
                self._takers[name].append((node, operand))

    def uses(self, name: str) -> Iterator[Use]:
        pending, seen = [(name, False)], {name}
        while pending:
            name, turned = pending.pop()
            for node, operand in self._takers[name]:
                if node.op_type not in (*_PASSING, "Transpose"):
                    yield Use(node.op_type, node.name, operand, turned ^ _as_in_out(node))
                elif node.output[0] not in seen:
                    seen.add(node.output[0])
                    pending.append((node.output[0], turned ^ (node.op_type == "Transpose")))


def _as_in_out(node: Any) -> bool:
    """Whether the operator wants its second operand as [in, out], as x @ W does."""
    return not (node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute))
