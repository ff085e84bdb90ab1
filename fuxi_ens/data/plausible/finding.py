"""What the checks of plausibility work on and what they say."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fuxi_ens.grid import area_weights

Field = NDArray[np.float32]

_NAMED = 4


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it is on Earth."""

    check: str
    channels: tuple[str, ...]
    got: str
    expected: str
    cause: str
    """What most likely went wrong when the store was made."""

    def __str__(self) -> str:
        named = ", ".join(self.channels[:_NAMED]) + (" ..." if len(self.channels) > _NAMED else "")
        return f"{self.check} ({named}): got {self.got}, expected {self.expected}; likely cause: {self.cause}"


@dataclass(frozen=True)
class Scene:
    """The fields of one valid time by channel, and where they lie."""

    fields: dict[str, Field]
    """[latitude, longitude], model units; missing points are NaN."""
    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        frame: NDArray[np.float32],
        channels: tuple[str, ...],
        latitude: NDArray[np.floating],
        longitude: NDArray[np.floating],
    ) -> "Scene":
        """The channels of a frame that hold any value at all."""
        present = {name: field for name, field in zip(channels, frame, strict=True) if np.isfinite(field).any()}
        return cls(present, np.asarray(latitude, np.float64), np.asarray(longitude, np.float64))

    def without(self, names: set[str]) -> "Scene":
        """The scene without some channels."""
        kept = {name: field for name, field in self.fields.items() if name not in names}
        return Scene(kept, self.latitude, self.longitude)

    @property
    def around(self) -> bool:
        """Whether the grid goes around the globe."""
        n = len(self.longitude)
        return n > 2 and abs((self.longitude[-1] - self.longitude[0]) * n / (n - 1) - 360.0) < 1.0

    @property
    def globe(self) -> bool:
        """Whether the grid covers the globe; Gaussian rows and cell centers stay short of the poles."""
        row = abs(self.latitude[0] - self.latitude[-1]) / max(len(self.latitude) - 1, 1)
        return self.around and abs(self.latitude[0] - self.latitude[-1]) + row > 175.0

    def weights(self) -> NDArray[np.float64]:
        """Relative area of each row, [latitude]."""
        return area_weights(self.latitude)

    def band_mean(self, name: str, south: float, north: float) -> float:
        """Area mean between two latitudes; NaN if no row lies there."""
        rows = (self.latitude >= south) & (self.latitude <= north)
        return area_mean(self.fields[name][rows], self.weights()[rows])


def area_mean(field: NDArray[np.floating], weights: NDArray[np.float64]) -> float:
    """Mean over the points that have a value; NaN if there are none."""
    there = np.isfinite(field)
    if there.all():
        row_sums, counts = field.sum(axis=-1, dtype=np.float64), np.full(len(field), field.shape[-1], np.float64)
    else:
        row_sums, counts = np.where(there, field, 0.0).sum(axis=-1, dtype=np.float64), there.sum(axis=-1) * 1.0
    total = float(np.sum(counts * weights))
    return float(np.sum(row_sums * weights)) / total if total else float("nan")
