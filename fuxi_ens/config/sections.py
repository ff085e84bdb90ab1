"""The sections of a run file and all their defaults: frozen, strict about keys, units in names where not obvious."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from fuxi_ens import channels as vocabulary
from fuxi_ens.config.base import Periods, Section
from fuxi_ens.config.fields import (
    Channels,
    DrawsName,
    Estimator,
    EventQuantiles,
    FamilyNames,
    KeepBits,
    LowerIsBetter,
    Precision,
    RegionNames,
    ScoredNames,
)
from fuxi_ens.config.init_times import InitTimes


class RunConfig(Section):
    """Identity of the run."""

    name: str
    folder: Path
    """Everything the run writes goes below this folder."""
    seed: NonNegativeInt = 2025
    threads: NonNegativeInt = 0
    """CPU threads for torch and Dask; 0 takes all cores the job was given."""


class ForecastConfig(Section):
    """Ensemble generation."""

    # They decide whether a run goes on, not what it computes.
    bookkeeping = frozenset({"guard_factor", "on_failure", "leads_in_flight", "scores", "keep_fields"})

    init_times: InitTimes
    members: PositiveInt = 50
    """Perturbed members."""
    control: bool = False
    """Whether a member without noise, the mean of the prior, comes first, as `number` 0 before members 1, 2, ..."""
    draws: DrawsName = "random"
    """Noise of the members: independent; in pairs of opposite sign; or spread evenly over the ensemble, element by
    element. The fair CRPS assumes independent members."""
    steps: PositiveInt = 60
    members_per_batch: PositiveInt = 1
    """Members that pass the network together; fixed, so that a member's bits do not depend on their number."""
    precision: Precision = "float32"
    """Autocast type of the network; norms, noise and fields stay float32."""
    members_per_item: PositiveInt | None = None
    """Members of one work item, and of one file; a multiple of members_per_batch wastes nothing. Null takes all,
    which is best for scores and readers; fewer divide the ensemble, and the memory it takes, among processes."""
    channels: Channels = vocabulary.CHANNELS_78
    """Channels to write."""
    lead_every_hours: PositiveInt | None = None
    """Write only lead times that are multiples of it; null writes every step."""
    height: PositiveInt | None = None
    """Rows of the written fields, which are regridded conservatively (121 for 1.5 degrees); null keeps the model's."""
    width: PositiveInt | None = None
    """Points of a row of the written fields (240 for 1.5 degrees)."""
    keep_bits: KeepBits = Field(default_factory=dict)
    """Mantissa bits to keep, by channel name without level (z, t, u10m, tp); others keep all 23."""
    leads_per_shard: PositiveInt = 20
    """Lead times per file."""
    leads_in_flight: PositiveInt = 4
    """Lead times that may wait to be written while the model goes on; each takes the memory of its fields."""
    scores: bool = False
    """Whether the statistics of `fuxi-ens verify` are made while the forecast runs."""
    keep_fields: bool = True
    """Whether fields are stored; without them `scores` is all there is of a forecast."""
    store: str = ""
    """Analysis that gives the initial frames; empty means data.store."""
    guard_factor: Annotated[float, Field(ge=1)] | Literal["off"] = 2.0
    """A member stops where a value leaves the range of the atmosphere, widened so many times; `off`: only where a value
    is not finite."""
    on_failure: Literal["stop", "continue"] = "stop"
    """What a stopped member does to the others: nothing is made any more, or they go on, and the command fails at its
    end."""

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if self.draws == "antithetic" and self.members % 2:
            raise ValueError(f"antithetic members come in pairs, got members {self.members}; take {self.members + 1}")
        return self

    @model_validator(mode="after")
    def _something_is_kept(self) -> Self:
        if not (self.scores or self.keep_fields):
            raise ValueError("keep_fields false leaves nothing of a forecast without scores; set scores to true")
        return self

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.height is None) != (self.width is None):
            raise ValueError(f"height {self.height} and width {self.width} of the written fields: give both or none")
        return self

    @property
    def numbers(self) -> range:
        """Numbers of the members, with the control member."""
        return range(self.members + self.control)

    @property
    def member_blocks(self) -> tuple[range, ...]:
        """Members of the work items of one init time."""
        numbers, size = self.numbers, self.members_per_item or len(self.numbers)
        return tuple(numbers[first : first + size] for first in range(0, len(numbers), size))

    @property
    def item_count(self) -> int:
        """Work items of the run: init times times blocks of members."""
        init_times = 1 if self.init_times.is_open else len(self.init_times.times)
        return init_times * len(self.member_blocks)


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


class SystemConfig(Section):
    """A further forecast to verify beside ours and the baseline."""

    name: str
    """Of the system in tables and figures."""
    store: str
    """Ensemble, or single forecast without `number`, in the layout of WeatherBench 2. It may lack some of
    verify.channels and some lead times; it is scored where it has them."""
    truth: str = ""
    """Analysis it is verified against; empty means verify.truth."""


class VerifyConfig(Section):
    """Which systems are compared with which truth."""

    # The statistics on disk do not depend on how they are tested, nor on who else is verified.
    bookkeeping = frozenset({"significance", "cache_megabytes", "others"})

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
    others: tuple[SystemConfig, ...] = ()
    """Further systems side by side with these, such as `ifs_hres` or `gencast`."""
    estimator: Estimator = "fair"
    scores: FamilyNames = ("ensemble", "ranks")
    """Families of scores to compute; others can be added later only by verifying again."""
    climatology: ClimatologyConfig
    day_climatology: str = ""
    """Climatology by day of the year, for scores that need one; empty means that of `fuxi-ens data climatology`."""
    event_quantiles: EventQuantiles = (0.02, 0.05, 0.1, 0.9, 0.95, 0.98, 0.99)
    """Quantiles of the climatology that bound events: those above 0.5 are exceeded, the others undercut."""
    precipitation_amounts_mm: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)] = (1, 5, 10, 20)
    """Fixed thresholds of precipitation."""
    map_lead_hours: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (24, 72, 120, 240)
    """Lead times of the family `maps`."""
    map_degrees: PositiveFloat = 1.5
    """Spacing of its points, each the average of a box; a coarser grid keeps its own."""
    allow_seen_climatology: bool = False
    """Whether a climatology may hold dates that are scored; its scores are flattered."""
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
