"""The networks of a forecast by lead time. One serves at a time; the others wait in host memory."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch

from fuxi_ens.checkpoint.folder import Checkpoint
from fuxi_ens.errors import UserError
from fuxi_ens.model import FuxiEns
from fuxi_ens.times import hours


@dataclass(frozen=True)
class LeadStage:
    """A network with the last lead time that it makes."""

    name: str
    """Empty for the only network of a model without cascade."""
    until_hours: int | None
    """None: all lead times."""
    checkpoint: Checkpoint

    def makes(self, lead_time: np.timedelta64) -> bool:
        """Whether the stage reaches so far."""
        return self.until_hours is None or bool(lead_time <= hours(self.until_hours))


@dataclass(frozen=True)
class LeadModels:
    """Forecast stages in the order of their lead times, alike in all but their weights."""

    stages: tuple[LeadStage, ...]
    device: torch.device

    @property
    def first(self) -> Checkpoint:
        """The network that starts a forecast; step size, channels and grid are those of all."""
        return self.stages[0].checkpoint

    @property
    def channels(self) -> tuple[str, ...]:
        """Channels of the frames, in tensor order."""
        return self.first.model.config.channels

    @property
    def table(self) -> tuple[tuple[str, int], ...]:
        """Name and last lead time, in hours, of the stages of a cascade; empty without one."""
        return tuple((stage.name, stage.until_hours) for stage in self.stages if stage.until_hours is not None)

    @property
    def weights_hash(self) -> str:
        """SHA-256 that tells forecasts apart: of the weights, or of all stages' weights and lead times."""
        if not self.table:
            return self.first.weights_hash
        lines = [f"{stage.until_hours} {stage.checkpoint.weights_hash}\n" for stage in self.stages]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def at(self, lead_time: np.timedelta64) -> FuxiEns:
        """The network that makes this lead time, on the device; the others are moved to host memory.

        Raises UserError beyond the last stage.
        """
        serving = next((stage for stage in self.stages if stage.makes(lead_time)), None)
        if serving is None:
            raise UserError(
                f"no forecast stage makes lead time {lead_time.astype('timedelta64[h]')}: the last, "
                f"{self.stages[-1].name}, ends at {self.stages[-1].until_hours} h; lower forecast.steps"
            )
        for stage in self.stages:
            if stage is not serving:
                _move(stage.checkpoint.model, torch.device("cpu"))
        _move(serving.checkpoint.model, self.device)
        return serving.checkpoint.model


def _move(model: FuxiEns, device: torch.device) -> None:
    """To a device. One that is there already is not walked through: for a small network that is a tenth of a step."""
    if next(model.parameters()).device != device:
        model.to(device)
