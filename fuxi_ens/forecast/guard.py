"""Stops members that leave physics: fields with values that no atmosphere has, or with none.

Every lead time, the smallest and the largest value of each field are found on the device, in one pass; the host looks
at those, and at the fields only when something is wrong.

Shape legend: B members of a batch, M members, C channels, H latitude, W longitude.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fuxi_ens.channels import channel
from fuxi_ens.data.era5 import Frames
from fuxi_ens.errors import UserError
from fuxi_ens.grid import LatLonGrid
from fuxi_ens.times import hours, label


@dataclass(frozen=True, slots=True)
class Failure:
    """The first implausible value of a member, in model units; its fields are NaN from this lead time on."""

    number: int
    init_time: np.datetime64
    lead_time: np.timedelta64
    channel: str
    latitude: float
    longitude: float
    value: float
    limits: tuple[float, float]

    def __str__(self) -> str:
        units = channel(self.channel).variable.model_units
        low, high = self.limits
        expected = f"; plausible are {low:.6g} to {high:.6g}" if np.isfinite(self.value) and np.isfinite(high) else ""
        return (
            f"member {self.number} of the forecast from {label(self.init_time)}: {self.channel} is {self.value:.6g} "
            f"{units} at lead time {self.lead_time / hours(1):g} h, {_place(self.latitude, self.longitude)}{expected}"
        )


class Guard:
    """Watches the members of one roll-out."""

    def __init__(self, channels: tuple[str, ...], grid: LatLonGrid, factor: float | None, *, proceed: bool) -> None:
        """Watch for values outside the limits of `channels`, widened about their middle by `factor`.

        None: only values that are not finite count. With `proceed` a failure is kept in `failures` and the other
        members go on; otherwise the first one raises UserError.
        """
        self.failures: list[Failure] = []
        self._channels, self._grid, self._proceed = channels, grid, proceed
        self._limits = np.array([_limits(name, factor) for name in channels])

    def extremes(self, frames_BCHW: Tensor, missing_CHW: Tensor) -> Tensor:
        """Smallest and largest value of each field, [B, 2, C]; NaN if one of its values is.

        Points that were `missing` at the start do not count. Nothing waits for the device.
        """
        low, high = torch.aminmax(frames_BCHW.flatten(2), dim=2)
        extremes = torch.stack([low, high], dim=1)
        for c in _may_be_missing(self._channels):
            field = torch.where(missing_CHW[c], float(self._limits[c].mean()), frames_BCHW[:, c])
            extremes[:, :, c] = torch.stack(torch.aminmax(field.flatten(1), dim=1), dim=1)
        return extremes

    def inspect(
        self,
        init_time: np.datetime64,
        lead_time: np.timedelta64,
        numbers: NDArray[np.int64],
        extremes_M2C: NDArray[np.float32],
        frames_MCHW: Frames,
        missing_CHW: NDArray[np.bool_],
    ) -> None:
        """Look at a lead time; members that failed, now or before, become NaN in `frames_MCHW`.

        Raises UserError at a failure unless members may go on without each other.
        """
        failed = [failure.number for failure in self.failures]
        good = (extremes_M2C[:, 0] >= self._limits[:, 0]) & (extremes_M2C[:, 1] <= self._limits[:, 1])
        for row in np.flatnonzero(~good.all(axis=1) & ~np.isin(numbers, failed)):
            c = int(np.flatnonzero(~good[row])[0])
            y, x = self._worst(c, frames_MCHW[row, c], missing_CHW[c])
            failure = Failure(
                number=int(numbers[row]),
                init_time=init_time,
                lead_time=lead_time,
                channel=self._channels[c],
                latitude=float(self._grid.latitude[y]),
                longitude=float(self._grid.longitude[x]),
                value=float(frames_MCHW[row, c, y, x]),
                limits=(float(self._limits[c, 0]), float(self._limits[c, 1])),
            )
            if not self._proceed:
                raise UserError(
                    f"{failure}; the model is unstable there, nothing of this work was marked complete. Set "
                    "forecast.on_failure: continue to go on with the other members, or widen forecast.guard_factor"
                )
            self.failures.append(failure)
            failed.append(failure.number)
        frames_MCHW[np.isin(numbers, failed)] = np.nan

    def _worst(self, c: int, field_HW: Frames, missing_HW: NDArray[np.bool_]) -> tuple[int, int]:
        """Where the field has no number, or is farthest outside its limits."""
        low, high = self._limits[c]
        excess = np.maximum(low - field_HW, field_HW - high)
        excess = np.where(np.isfinite(field_HW), excess, np.inf)
        y, x = np.unravel_index(np.argmax(np.where(missing_HW, -np.inf, excess)), excess.shape)
        return int(y), int(x)


def _limits(name: str, factor: float | None) -> tuple[float, float]:
    if factor is None:
        # Infinite values lie outside.
        largest = float(np.finfo(np.float32).max)
        return -largest, largest
    low, high = channel(name).variable.limits
    middle, half = (low + high) / 2, factor * (high - low) / 2
    return middle - half, middle + half


def _may_be_missing(channels: tuple[str, ...]) -> list[int]:
    return [c for c, name in enumerate(channels) if channel(name).variable.may_be_missing]


def _place(latitude: float, longitude: float) -> str:
    return f"{abs(latitude):g}{'N' if latitude >= 0 else 'S'} {longitude:g}E"
