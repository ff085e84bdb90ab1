"""One YAML file describes one complete run; this package is the only home of defaults.

Sections and their defaults are in `sections`, reading a file and explaining its mistakes in `file`; here are the whole
and the rules that span sections.
"""

from pathlib import Path
from typing import Self

import numpy as np
from pydantic import model_validator

from fuxi_ens import channels as vocabulary
from fuxi_ens.config.file import read_config
from fuxi_ens.config.sections import (
    ALMOST_FAIR_ALPHA,
    ClimatologyConfig,
    DataConfig,
    Estimator,
    ForecastConfig,
    InitTimes,
    ModelConfig,
    Period,
    Periods,
    PlaceConfig,
    ReportConfig,
    RunConfig,
    Section,
    StageConfig,
    TrainConfig,
    VerifyConfig,
)
from fuxi_ens.times import Leads, hours, label, lead_times

__all__ = [
    "ALMOST_FAIR_ALPHA",
    "ClimatologyConfig",
    "Config",
    "DataConfig",
    "Estimator",
    "ForecastConfig",
    "InitTimes",
    "ModelConfig",
    "Period",
    "Periods",
    "PlaceConfig",
    "ReportConfig",
    "RunConfig",
    "Section",
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
    report: ReportConfig | None = None
    """Maps and plume for the report; without it the report has scores only."""

    @property
    def lead_times(self) -> Leads:
        """Lead times of the forecast, [steps]."""
        return lead_times(self.data.step_size, self.forecast.steps)

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
        for name, periods in {
            "data.train": self.data.train,
            "data.validation": self.data.validation,
            "verify.climatology.periods": self.verify.climatology.periods,
        }.items():
            self._apart_from_test(name, periods)
        self._init_times_in_test()
        if self.report:
            self._report_shows_what_is_scored(self.report)
        return self

    def _apart_from_test(self, name: str, periods: Periods) -> None:
        for period in periods:
            for test in self.data.test:
                if period.start <= test.end and test.start <= period.end:
                    raise ValueError(
                        f"{name} {period.start}..{period.end} overlaps data.test {test.start}..{test.end}: "
                        "scores would be measured on dates the system has seen; move one of them"
                    )

    def _report_shows_what_is_scored(self, report: ReportConfig) -> None:
        unscored = {*report.map_channels, *report.plume_channels} - set(self.verify.channels)
        last = hours(report.map_lead_hours)
        if unscored or last not in self.lead_times:
            raise ValueError(
                f"report shows {sorted(unscored)} that are not in verify.channels, or report.map_lead_hours "
                f"{report.map_lead_hours} is no lead time of the forecast of {self.forecast.steps} steps"
            )

    def _init_times_in_test(self) -> None:
        init_times = self.forecast.init_times.times
        inside = np.any([period.contains(init_times) for period in self.data.test], axis=0)
        if not inside.all():
            raise ValueError(
                f"forecast.init_times leave data.test at {label(init_times[~inside][0])}; "
                "widen data.test or move the init times"
            )


def load_config(path: str | Path, overrides: tuple[str, ...] | list[str] = ()) -> Config:
    """Read a run's YAML file, apply `a.b=value` overrides, validate. Raises ConfigError with the remedy."""
    return read_config(Config, path, tuple(overrides))
