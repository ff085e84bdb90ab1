"""One YAML file describes one complete run; this package is the only home of defaults.

Sections and their defaults are in `model`, `train`, `data` and `sections`, reading a file and explaining its mistakes
in `file`; here are the whole and the rules that span sections.
"""

from pathlib import Path
from typing import Self

import numpy as np
from pydantic import model_validator

from fuxi_ens import channels as vocabulary
from fuxi_ens.config.base import Period, Periods, Section
from fuxi_ens.config.cascade import check_cascade
from fuxi_ens.config.data import ClimatologyStoreConfig, DaskConfig, DataConfig, PrepareConfig, SlurmConfig
from fuxi_ens.config.events import CycloneConfig, EventsConfig, HeatWaveConfig
from fuxi_ens.config.fields import ALMOST_FAIR_ALPHA, DrawsName, Estimator, LowerIsBetter, Precision
from fuxi_ens.config.file import read_config
from fuxi_ens.config.init_times import InitTimes
from fuxi_ens.config.model import ModelConfig
from fuxi_ens.config.sections import (
    ClimatologyConfig,
    ForecastConfig,
    PlaceConfig,
    ReportConfig,
    RunConfig,
    SignificanceConfig,
    VerifyConfig,
)
from fuxi_ens.config.train import LeadStageConfig, StageConfig, TrainConfig
from fuxi_ens.grid import LatLonGrid
from fuxi_ens.paths import RunPaths
from fuxi_ens.times import Leads, hours, label, lead_times

__all__ = [
    "ALMOST_FAIR_ALPHA",
    "ClimatologyConfig",
    "ClimatologyStoreConfig",
    "Config",
    "CycloneConfig",
    "DaskConfig",
    "DataConfig",
    "DrawsName",
    "Estimator",
    "EventsConfig",
    "ForecastConfig",
    "HeatWaveConfig",
    "InitTimes",
    "LeadStageConfig",
    "LowerIsBetter",
    "ModelConfig",
    "Period",
    "Periods",
    "PlaceConfig",
    "Precision",
    "PrepareConfig",
    "ReportConfig",
    "RunConfig",
    "Section",
    "SignificanceConfig",
    "SlurmConfig",
    "StageConfig",
    "TrainConfig",
    "VerifyConfig",
    "load_config",
]


class Config(Section):
    """A complete run, from the store to the scorecard."""

    run: RunConfig
    data: DataConfig
    model: ModelConfig
    train: TrainConfig
    forecast: ForecastConfig
    verify: VerifyConfig
    prepare: PrepareConfig | None = None
    """How data.store is made from another store; without it data.store must be there."""
    cascade: tuple[LeadStageConfig, ...] = ()
    """Forecast stages by lead time, in order, each trained from the one before; empty means one for all lead times."""
    climatology: ClimatologyStoreConfig = ClimatologyStoreConfig()
    dask: DaskConfig = DaskConfig()
    events: EventsConfig = EventsConfig()
    report: ReportConfig | None = None
    """Maps and plume for the report; without it the report has scores only."""

    @property
    def lead_times(self) -> Leads:
        """Lead times of the forecast that are written, [lead_time]."""
        every = self.forecast.lead_every_hours or self.data.step_size_hours
        stride = every // self.data.step_size_hours
        leads: Leads = lead_times(self.data.step_size, self.forecast.steps)[stride - 1 :: stride]
        return leads

    @property
    def forecast_grid(self) -> LatLonGrid:
        """Grid of the fields that are written."""
        if self.forecast.height is None or self.forecast.width is None:
            return self.model.grid
        return LatLonGrid(self.forecast.height, self.forecast.width)

    @property
    def forecast_store(self) -> Path:
        """Where the ensembles go; each newest init time has a store of its own."""
        paths, init_times = RunPaths(self.run.folder), self.forecast.init_times
        return paths.forecast_from(init_times.times[0]) if init_times.latest else paths.forecast

    @property
    def climatology_channels(self) -> tuple[str, ...]:
        """Channels of the climatology, in tensor order."""
        return self.climatology.channels or self.model.channels

    @property
    def climatology_derived(self) -> tuple[str, ...]:
        """What the climatology derives of its channels: speeds near the ground; other speeds and sums if scored."""
        have = set(self.climatology_channels)
        wanted = {*vocabulary.NEAR_GROUND_SPEED, *self.verify.channels}
        derived = (*vocabulary.DERIVED_SPEED, *vocabulary.SUMS_24H)
        return tuple(name for name in derived if name in wanted and have.issuperset(vocabulary.components(name)))

    @property
    def climatology_categories(self) -> tuple[str, ...]:
        """Amounts of precipitation whose dry share and heavy amounts the climatology holds: those scored by SEEPS."""
        if "seeps" not in self.verify.scores:
            return ()
        have = {*self.climatology_channels, *self.climatology_derived}
        return tuple(name for name in self.verify.channels if name in vocabulary.PRECIPITATION and name in have)

    @model_validator(mode="after")
    def check(self) -> Self:
        """Cross-section rules: channels agree, and nothing learned or averaged saw the test period."""
        missing = set(self.forecast.channels) - set(self.model.channels)
        needed = {part for name in self.verify.channels for part in vocabulary.components(name)}
        unwritten = needed - set(self.forecast.channels)
        if missing or unwritten:
            raise ValueError(
                f"forecast.channels must be a subset of model.channels and hold what verify.channels needs: "
                f"not in the model {sorted(missing)}, not written {sorted(unwritten)}"
            )
        if not self.forecast.init_times.is_open:
            self._check_dates()
        self._check_output()
        check_cascade(self.cascade, self.train.stages, self.data.step_size_hours, self.forecast.steps)
        if self.forecast.members < 2 and self.verify.estimator != "standard":
            raise ValueError(f"the {self.verify.estimator} CRPS needs forecast.members of at least 2")
        if self.report:
            self._report_shows_what_is_scored(self.report)
        return self

    def _check_dates(self) -> None:
        """Nothing that is learned from or averaged may be scored, and the network's clock must fit the init times."""
        init_times = self.forecast.init_times.times
        scored = Period(
            start=init_times[0].astype("datetime64[us]").item(),
            end=(init_times[-1] + self.lead_times[-1]).astype("datetime64[us]").item(),
        )
        tested = {"data.test": self.data.test, "the scored times": (scored,)}
        _keep_apart({"data.train": self.data.train}, {**tested, "data.validation": self.data.validation})
        _keep_apart({"data.validation": self.data.validation}, tested)
        _keep_apart({"verify.climatology.periods": self.verify.climatology.periods}, tested)
        _keep_apart({"climatology.periods": self.climatology.periods}, tested)
        inside = np.any([period.contains(init_times) for period in self.data.test], axis=0)
        # What starts from the newest analysis is no test: nobody can score it yet.
        if not inside.all() and not self.forecast.init_times.latest:
            raise ValueError(
                f"forecast.init_times leave data.test at {label(init_times[~inside][0])}; "
                "widen data.test or move the init times"
            )
        off_step = (init_times - init_times.astype("datetime64[D]")) % self.data.step_size != np.timedelta64(0)
        if off_step.any():
            raise ValueError(
                f"forecast.init_times hold {label(init_times[off_step][0])}, which is no multiple of "
                f"data.step_size_hours {self.data.step_size_hours}; change start or every_hours"
            )

    def _check_output(self) -> None:
        """Lead times and grid of the written fields must fit the model's steps and grid."""
        forecast, step, last = self.forecast, self.data.step_size_hours, self.forecast.steps * self.data.step_size_hours
        every = forecast.lead_every_hours or step
        if every % step or last % every:
            raise ValueError(
                f"forecast.lead_every_hours {every} must be a multiple of data.step_size_hours {step} and divide the "
                f"last lead time, {last} h; change it or forecast.steps"
            )
        sums = [name for name in self.verify.channels if name in vocabulary.SUMS_24H]
        if sums and (every != vocabulary.ACCUMULATION_HOURS or last < 24):
            raise ValueError(
                f"verify.channels {sums} are sums of four lead times {vocabulary.ACCUMULATION_HOURS} h apart, and the "
                f"forecast writes every {every} h up to {last} h; change forecast.lead_every_hours or forecast.steps, "
                "or leave them out"
            )
        grid = self.forecast_grid
        if grid.height > self.model.height or grid.width > self.model.width:
            raise ValueError(
                f"forecast.height and width {grid.height}x{grid.width} are finer than the model's "
                f"{self.model.height}x{self.model.width}; choose a coarser grid, or leave them out"
            )

    def _report_shows_what_is_scored(self, report: ReportConfig) -> None:
        unscored = {*report.map_channels, *report.plume_channels} - set(self.verify.channels)
        if unscored:
            raise ValueError(f"report shows {sorted(unscored)}, which are not in verify.channels; add or remove them")
        if hours(report.map_lead_hours) not in self.lead_times:
            raise ValueError(
                f"report.map_lead_hours {report.map_lead_hours} is no lead time of a forecast of "
                f"{self.forecast.steps} steps of {self.data.step_size_hours} h"
            )


def _keep_apart(ours: dict[str, Periods], theirs: dict[str, Periods]) -> None:
    for name, periods in ours.items():
        for other, others in theirs.items():
            for a in periods:
                for b in others:
                    if a.start <= b.end and b.start <= a.end:
                        raise ValueError(
                            f"{name} {a.start}..{a.end} overlaps {other} {b.start}..{b.end}: scores would be measured "
                            "on dates the system has seen; move one of them"
                        )


def load_config(path: str | Path, overrides: tuple[str, ...] | list[str] = ()) -> Config:
    """Read a run's YAML file, apply `a.b=value` overrides, validate. Raises ConfigError with the remedy."""
    return read_config(Config, path, tuple(overrides))
