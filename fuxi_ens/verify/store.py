"""What forecasts and analyses have in common behind the border: a grid, and channels by name."""

from dataclasses import dataclass
from typing import Self

import xarray as xr

from fuxi_ens.channels import Variable, channel, components
from fuxi_ens.errors import StoreError
from fuxi_ens.verify.dimensions import HORIZONTAL


@dataclass(frozen=True)
class Store:
    """An open store with normalized dimensions."""

    source: str
    """As the user wrote it, without passwords: a path, a URL, or asset:NAME."""
    dataset: xr.Dataset

    @property
    def grid(self) -> str:
        """Height, width, first latitude and longitude; equal for stores whose fields can be compared point by point."""
        height, width = (self.dataset.sizes[dim] for dim in HORIZONTAL)
        north, west = (float(self.dataset[dim][0]) for dim in HORIZONTAL)
        return f"{height}x{width} from {north:.6g}N {west:.6g}E"

    def require(self, names: tuple[str, ...]) -> Self:
        """Return itself if all scored names can be read. Raises StoreError naming what is missing."""
        for name in names:
            for part in components(name):
                self._variable(part)
        return self

    def held(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the scored `names` that can be read."""
        return tuple(name for name in names if self._holds(name))

    def _holds(self, name: str) -> bool:
        try:
            self.require((name,))
        except StoreError:
            return False
        return True

    def _names(self, variable: Variable) -> tuple[str, ...]:
        """Names on disk under which a variable can be read."""
        return (variable.file_name,)

    def _variable(self, name: str) -> xr.DataArray:
        """The lazy array of one channel."""
        item = channel(name)
        stored = next((n for n in self._names(item.variable) if n in self.dataset), None)
        if stored is None:
            found = ", ".join(sorted(map(str, self.dataset.data_vars)))
            raise StoreError(
                f"{self.source} has no {item.variable.file_name} (for {name}); it has {found}; "
                f"add it to the store or take {name} out of verify.channels"
            )
        array = self.dataset[stored]
        if item.level is None:
            return array
        if "level" not in array.indexes or item.level not in array.indexes["level"]:
            levels = list(array.indexes["level"]) if "level" in array.indexes else []
            raise StoreError(
                f"{self.source} has no level {item.level} (for {name}); it has {levels}; "
                f"take {name} out of verify.channels"
            )
        return array.sel(level=item.level)
