"""The sections of a run file and all their defaults: frozen, strict about keys, units in names where not obvious."""

from pathlib import Path
from typing import Annotated, Self

import numpy as np
from pydantic import (
    Field,
    NonNegativeInt,
    PositiveInt,
    model_validator,
)

from fuxi_ens import channels as vocabulary
from fuxi_ens.config.base import Periods, Section
from fuxi_ens.config.fields import (
    Channels,
    Estimator,
    FamilyNames,
    LowerIsBetter,
    RegionNames,
    ScoredNames,
    Time,
)
from fuxi_ens.times import Times, hours, time_range


class RunConfig(Section):
    """Identity of the run."""

    name: str
    folder: Path
    """Everything the run writes goes below this folder."""
    seed: NonNegativeInt = 2025
    threads: NonNegativeInt = 0
    """CPU threads for torch and Dask; 0 takes all cores the job was given."""


class InitTimes(Section):
    """A regular series of init times, both ends included."""

    start: Time
    end: Time
    every_hours: PositiveInt = 12

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.end < self.start:
            raise ValueError(f"init_times end at {self.end} before they start at {self.start}")
        return self

    @property
    def times(self) -> Times:
        """The init times, datetime64[ns]."""
        return time_range(np.datetime64(self.start, "ns"), np.datetime64(self.end, "ns"), hours(self.every_hours))


class ForecastConfig(Section):
    """Ensemble generation."""

    init_times: InitTimes
    members: PositiveInt = 50
    steps: PositiveInt = 60
    members_per_batch: PositiveInt = 1
    """Members that pass the network together; fixed, so that a member's bits do not depend on their number."""
    channels: Channels = vocabulary.CHANNELS_78
    """Channels to write."""
    leads_per_shard: PositiveInt = 20
    """Lead times per file; a file holds all members."""
    store: str = ""
    """Analysis that gives the initial frames; empty means data.store."""


class ClimatologyConfig(Section):
    """The climatological reference ensemble: analyses of other years near the same day, at the same hour."""

    periods: Periods
    window_days: NonNegativeInt = 10
    stride_days: PositiveInt = 5


class SignificanceConfig(Section):
    """How differences of scores are tested and counted; needs the statistics of verify, not the forecasts."""

    scores: Annotated[tuple[LowerIsBetter, ...], Field(min_length=1)] = ("crps", "rmse")
    """Scores whose differences are tested."""
    level: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share of false discoveries among the significant cells; confidence intervals cover 1 - level."""
    min_init_times: Annotated[int, Field(ge=5)] = 10
    """Cells of fewer init times are not tested."""
    resamples: Annotated[int, Field(ge=100)] = 1000
    """Bootstrap draws of the init times."""
    counted_channels: tuple[str, ...] = ()
    """Names in the count "better in N of 360"; empty means verify.channels."""
    counted_lead_hours: tuple[PositiveInt, ...] = ()
    """Lead times in the count; empty means all that both systems have."""


class VerifyConfig(Section):
    """Which systems are compared with which truth."""

    # The statistics on disk do not depend on how they are tested.
    bookkeeping = frozenset({"significance", "cache_megabytes"})

    channels: ScoredNames = vocabulary.HEADLINE
    regions: RegionNames = (
        "global",
        "northern-hemisphere",
        "tropics",
        "southern-hemisphere",
    )
    truth: str = ""
    """Analysis the forecast is verified against; empty means data.store."""
    forecast_name: str = "fuxi_ens"
    """Name of the forecast in tables and figures."""
    baseline: str
    """Ensemble in the layout of WeatherBench 2 `ifs_ens`."""
    baseline_name: str
    baseline_truth: str = ""
    """Analysis the baseline is verified against; empty means `truth`."""
    estimator: Estimator = "fair"
    scores: FamilyNames = ("ensemble", "ranks")
    """Families of scores to compute; others can be added later only by verifying again."""
    climatology: ClimatologyConfig
    day_climatology: str = ""
    """Climatology by day of the year, for scores that need one; empty means that of `fuxi-ens data climatology`."""
    cache_megabytes: PositiveInt = 2000
    """Memory for fields of truth and climatology that several forecasts need."""
    significance: SignificanceConfig = SignificanceConfig()

    @model_validator(mode="after")
    def _counted_is_scored(self) -> Self:
        unscored = set(self.significance.counted_channels) - set(self.channels)
        if unscored:
            raise ValueError(
                f"significance.counted_channels hold {sorted(unscored)}, which are not in verify.channels "
                f"{list(self.channels)}; add them there or leave them out"
            )
        return self


class PlaceConfig(Section):
    """A point for the plume."""

    name: str
    latitude: Annotated[float, Field(ge=-90, le=90)]
    longitude: Annotated[float, Field(ge=-180, le=360)]


class ReportConfig(Section):
    """What the report shows beside the scores."""

    title: str
    place: PlaceConfig
    map_channels: tuple[str, ...] = ("z500", "t2m")
    plume_channels: tuple[str, ...] = ("z500", "t2m", "ws10m")
    map_lead_hours: PositiveInt = 120
    caveats: tuple[str, ...] = ()
    """What a reader must know about the data; added to the caveats that follow from the scores."""
