"""Which tensor of a file goes where in our network, in which direction, and what does not fit."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fuxi_ens.convert.names import key_of, stored_in_out
from fuxi_ens.convert.onnx_file import Initializer, Inline, Region

_BUFFERS = ("mean", "std", "const")


@dataclass(frozen=True, slots=True)
class Placed:
    """A tensor of the file in the place of one of ours."""

    source: Region | Inline
    shape: tuple[int, ...]
    transposed: bool

    def read(self) -> NDArray[np.float32]:
        """The values in our direction and shape."""
        values = self.source.read()
        return (values.T if self.transposed else values).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class Fit:
    """Outcome of matching a file with a network; nothing but `placed` and `derived` may be filled for a conversion."""

    placed: dict[str, Placed] = field(default_factory=dict)
    derived: list[str] = field(default_factory=list)
    """Tensors that we compute, found equal: the mask."""
    constants: list[str] = field(default_factory=list)
    """Single numbers and integers: arithmetic of the graph, no weights."""
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshapen: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """One line per tensor that does not fit."""
        return [
            *(f"missing: {key}" for key in self.missing),
            *(f"unexpected: {name}" for name in self.unexpected),
            *(f"does not fit: {text}" for text in self.misshapen),
        ]


def fit(
    initializers: Sequence[Initializer],
    expected: Mapping[str, tuple[int, ...]],
    tables: Mapping[str, NDArray[np.float32]],
) -> Fit:
    """Match by key with the `expected` shapes; what is left must equal one of our `tables` or be a plain number."""
    result, claims = Fit(), defaultdict(list)
    for item in initializers:
        key = key_of(item)
        if key in expected:
            claims[key].append(item)
        else:
            _leftover(item, tables, result)
    for key, shape in expected.items():
        claimants = claims[key]
        if not claimants:
            result.missing.append(f"{key} {list(shape)}")
        elif len(claimants) > 1:
            result.misshapen.append(f"{key} is claimed by {', '.join(item.name for item in claimants)}")
        else:
            _place(key, claimants[0], shape, result)
    return result


def _place(key: str, item: Initializer, shape: tuple[int, ...], result: Fit) -> None:
    if item.source is None:
        result.misshapen.append(f"{key} is not of type float32")
        return
    transposed = _direction(key, item, shape)
    if isinstance(transposed, str):
        result.misshapen.append(transposed)
    else:
        result.placed[key] = Placed(item.source, shape, transposed)


def _direction(key: str, item: Initializer, shape: tuple[int, ...]) -> bool | str:
    """Whether the stored matrix must be transposed, or why it does not fit."""
    stored, in_out = item.shape, stored_in_out(item)
    if key in _BUFFERS:
        # Exporters keep the broadcast dimensions of statistics and static fields: [78, 1, 1], [1, 6, 721, 1440].
        fits = [n for n in stored if n != 1] == [n for n in shape if n != 1]
        return False if fits else _mismatch(key, item, shape)
    if len(shape) != 2:
        return False if stored == shape else _mismatch(key, item, shape)
    if in_out is None and shape[0] == shape[1] and stored == shape:
        return f"{key} is square and the graph does not say whether it is stored as [in, out] or [out, in]"
    if in_out is None:
        in_out = stored != shape
    return in_out if stored == (shape[::-1] if in_out else shape) else _mismatch(key, item, shape)


def _mismatch(key: str, item: Initializer, shape: tuple[int, ...]) -> str:
    return f"{key} has {list(item.shape)} in the file (as {item.name}), {list(shape)} here"


def _leftover(item: Initializer, tables: Mapping[str, NDArray[np.float32]], result: Fit) -> None:
    """Sort out a tensor that no weight of ours claims."""
    if item.source is None or np.prod(item.shape) <= 1:
        result.constants.append(item.name)
        return
    shape = [n for n in item.shape if n != 1]
    for name, table in tables.items():
        if shape == [n for n in table.shape if n != 1]:
            if np.allclose(item.source.read().reshape(table.shape), table, rtol=0, atol=1e-5):
                result.derived.append(f"{item.name} = {name}")
            else:
                result.misshapen.append(f"{item.name} has the shape of our {name} and other values")
            return
    result.unexpected.append(f"{item.name} {list(item.shape)}")
