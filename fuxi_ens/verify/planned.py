"""A forecast that is known but not stored: scored while it runs, its fields not kept."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from fuxi_ens.config import Config
from fuxi_ens.errors import StoreError
from fuxi_ens.paths import RunPaths
from fuxi_ens.times import Leads, Times, label
from fuxi_ens.verify.files import given_up_path
from fuxi_ens.verify.open import AnalysisStore
from fuxi_ens.verify.points import Field
from fuxi_ens.verify.systems import Role, forecast_leads, verifiable

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PlannedForecast:
    """What the forecast of a config will hold."""

    source: str
    init_times: Times
    lead_times: Leads
    grid: str
    draws: str
    """How the members share their noise."""

    @classmethod
    def of(cls, config: Config) -> "PlannedForecast":
        """As the store at its usual place would be."""
        grid = config.forecast_grid
        north, west = grid.latitude[0], grid.longitude[0]
        return cls(
            str(config.forecast_store),
            config.forecast.init_times.times,
            config.lead_times,
            f"{grid.height}x{grid.width} from {north:.6g}N {west:.6g}E",
            config.forecast.draws,
        )

    def whole(self, config: Config) -> "PlannedForecast":
        """Without the init times that have no statistics because members were given up."""
        folder, name = RunPaths(config.run.folder).scores, config.verify.forecast_name
        lost = np.array([given_up_path(folder, name, time).exists() for time in self.init_times])
        if lost.any():
            log.warning("%s: %d init times lack members that were given up, and are left out", name, lost.sum())
        return replace(self, init_times=self.init_times[~lost])


@dataclass(frozen=True)
class PlannedSystem:
    """Its place among the systems; see `systems.System`."""

    name: str
    forecast: PlannedForecast
    truth: AnalysisStore
    role: Role = "forecast"

    @property
    def source(self) -> str:
        """Where the store would be."""
        return self.forecast.source

    def offered(self, name: str, init_time: np.datetime64, lead_times: Leads) -> Leads:
        """Those of `lead_times` that the forecast has."""
        return forecast_leads(name, verifiable(name, init_time, lead_times, self.truth), self.forecast.lead_times)

    def held(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """All of them."""
        return names

    def ensembles(self, name: str, init_time: np.datetime64, lead_times: Leads, slot: int = 0) -> Iterator[Field]:
        """Raises StoreError: there are no fields to be read."""
        raise StoreError(
            f"{self.name} has no statistics of {label(init_time)}, and forecast.keep_fields is false, so that they "
            "cannot be made from fields; run `fuxi-ens forecast`, which makes them"
        )

    @property
    def ensemble_bytes(self) -> int:
        """Nothing is read."""
        return 0

    def bytes_at_work(self, names: tuple[str, ...]) -> int:
        """Nothing is read."""
        return 0
