"""The sections of a run file and all their defaults: frozen, strict about keys, units in names where not obvious."""

from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from fuxi_ens import channels as vocabulary
from fuxi_ens.config.base import Periods, Section
from fuxi_ens.config.fields import (
    ALMOST_FAIR_ALPHA,
    Channels,
    Estimator,
    Members,
    Momentum,
    Probability,
    RegionNames,
    ScoredNames,
    Time,
)
from fuxi_ens.grid import LatLonGrid
from fuxi_ens.times import Times, hours, time_range


class RunConfig(Section):
    """Identity of the run."""

    name: str
    folder: Path
    """Everything the run writes goes below this folder."""
    seed: NonNegativeInt = 2025
    threads: NonNegativeInt = 0
    """CPU threads for torch and Dask; 0 takes all cores the job was given."""


class ModelConfig(Section):
    """Shape of the network; the defaults are the released FuXi-ENS (model.md 2)."""

    channels: Channels = vocabulary.CHANNELS_78
    """In tensor order; the word fuxi_ens_78 stands for all 78."""
    height: PositiveInt = 721
    width: PositiveInt = 1440
    patch: PositiveInt = 8
    embedding: PositiveInt = 1536
    """Width D of a token."""
    heads: PositiveInt = 24
    window: PositiveInt = 18
    """Side of an attention window in tokens; must divide the token grid."""
    mlp_hidden: PositiveInt = 4096
    perturbation_layers: PositiveInt = 2
    forecast_layers: PositiveInt = 6
    blocks_per_layer: PositiveInt = 7
    dropout: Probability = 0.2
    """Dropout probability in the perturbation networks."""
    forecast_dropout: bool = True
    """Whether dropout stays on in validation and forecasts, as in the release; no effect where `dropout` is 0."""
    output: Literal["state", "increment"] = "state"
    """`state`: the network gives the next frame (release). `increment`: it gives the change from the unperturbed
    newest frame in units of the 6 h standard deviation; learns faster from little data."""
    polar_row: Literal["release", "zonal_mean"] = "zonal_mean"
    """Rows beyond the last whole patch: `release` leaves the head bias there, `zonal_mean` copies the row above."""
    missing_points: Literal["missing", "prediction"] = "missing"
    """What is fed back where an input channel is missing, that is sea temperature over land: `missing` keeps it so,
    `prediction` takes what the network writes there, which no truth has ever judged (release)."""
    norm_variance: Literal["population", "sample"] = "population"
    """Variance of the layer norms: sum of squares over n, or over n - 1 (release)."""
    initial_logvar: float = -4.0
    """Log-variance both perturbation networks start from."""
    logvar_bounds: tuple[float, float] | None = (-10.0, 10.0)
    """Where the log-variance is held; null leaves it free (release), which training in bfloat16 does not survive."""
    latent: Literal["diagonal", "low_rank"] = "diagonal"
    """Covariance of the perturbation: independent noise per point and channel (release), or that plus `latent_rank`
    smooth patterns over all channels whose amplitudes a member shares over the globe, as in FuXi-S2S."""
    latent_rank: PositiveInt = 12
    """Patterns of a `low_rank` latent; FuXi-S2S has 12."""

    @property
    def grid(self) -> LatLonGrid:
        """The grid of the frames."""
        return LatLonGrid(self.height, self.width)

    @property
    def token_grid(self) -> tuple[int, int]:
        """Tokens in latitude and longitude; rows that fill no whole patch are dropped (model.md 2.2)."""
        return self.height // self.patch, self.width // self.patch

    @property
    def patterns(self) -> int:
        """Patterns of the latent's covariance, 0 for a diagonal one."""
        return self.latent_rank if self.latent == "low_rank" else 0

    @property
    def block_shift(self) -> int:
        """Tokens by which every second block rolls its grid, both ways."""
        return self.window // 2

    @model_validator(mode="after")
    def _geometry(self) -> Self:
        rows, columns = self.token_grid
        if self.width % self.patch or rows % self.window or columns % self.window:
            raise ValueError(
                f"grid {self.height}x{self.width} in patches of {self.patch} gives {rows}x{columns} tokens, which "
                f"windows of {self.window} do not tile; choose a window that divides {rows} and {columns}"
            )
        if self.embedding % self.heads or (self.embedding // self.heads) % 2:
            raise ValueError(
                f"embedding {self.embedding} over {self.heads} heads must give an even head size for rotary positions"
            )
        if self.patterns >= 2 * len(self.channels):
            raise ValueError(
                f"latent_rank {self.latent_rank} must be smaller than the number of latent channels, 2 frames of "
                f"{len(self.channels)}"
            )
        if self.logvar_bounds and not self.logvar_bounds[0] < self.initial_logvar < self.logvar_bounds[1]:
            raise ValueError(f"initial_logvar {self.initial_logvar} must lie inside logvar_bounds {self.logvar_bounds}")
        return self


class StageConfig(Section):
    """One stage of training; stages run in the order of the list, each from the weights of the one before."""

    name: str
    objective: Literal["l1", "crps_kl"]
    """`l1`: deterministic pre-training of the forecast network. `crps_kl`: ensemble of members, CRPS plus KL."""
    iterations: PositiveInt
    learning_rate: PositiveFloat
    final_learning_rate: NonNegativeFloat = 1e-7
    warmup_iterations: NonNegativeInt = 0
    batch_size: PositiveInt = 1
    """Init times per rank and iteration."""
    accumulate: PositiveInt = 1
    """Batches whose gradients are averaged before the weights move."""
    rollout_steps: PositiveInt = 1
    """Model steps per sample."""
    rollout_start: PositiveInt | None = None
    """Curriculum: the rollout grows from so many steps to `rollout_steps`, one by one in equal parts of the stage; null
    rolls out all steps from the start."""
    gradient_steps: PositiveInt | None = None
    """Last steps of a rollout that are scored and carry the gradient; those before only lead there. Null: all."""
    lead_stage: str = ""
    """Forecast stage of `cascade` that this stage trains; empty means its first, or the only one."""
    members: Members = 4
    """Members drawn from each sampled distribution."""
    sampled: Literal["posterior", "prior", "both"] = "posterior"
    """Where members come from in the first step; later steps always use the prior, as in a forecast."""
    estimator: Estimator = "almost_fair"
    alpha: Annotated[float, Field(ge=0, le=1)] = ALMOST_FAIR_ALPHA
    """Weight of the fair part in the almost-fair CRPS."""
    kl_weight: NonNegativeFloat = 3e-4
    """Factor of the mean KL per element, in nats; the peak of its schedule."""
    kl_direction: Literal["q_p", "p_q"] = "q_p"
    """KL(Q || P), the bound of a variational autoencoder, or KL(P || Q), which makes P cover less than Q."""
    kl_schedule: Literal["warmup", "cyclical"] = "warmup"
    """`warmup`: linear from 0 over `kl_warmup_iterations`, then constant. `cyclical`: `kl_cycles` times linear from 0
    over the share `kl_rise` of a cycle, then constant to its end (Fu et al. 2019)."""
    kl_warmup_iterations: NonNegativeInt = 0
    kl_cycles: PositiveInt = 4
    kl_rise: Annotated[float, Field(gt=0, le=1)] = 0.5
    kl_free_nats: NonNegativeFloat = 0.0
    """Free bits: KL per element that a latent channel may have at no cost (Kingma et al. 2016), in nats. Patterns of a
    `low_rank` latent join the channels, which then are free together."""

    @model_validator(mode="after")
    def _schedule(self) -> Self:
        shortest = self.rollout_start or self.rollout_steps
        if shortest > self.rollout_steps or (self.gradient_steps or 1) > shortest:
            raise ValueError(
                f"stage {self.name!r}: gradient_steps {self.gradient_steps} <= rollout_start {self.rollout_start} <= "
                f"rollout_steps {self.rollout_steps} does not hold; change the one that is wrong"
            )
        if shortest + self.iterations <= self.rollout_steps:
            raise ValueError(
                f"stage {self.name!r}: rollouts of {shortest} to {self.rollout_steps} steps do not fit into "
                f"{self.iterations} iterations; raise rollout_start"
            )
        if self.final_learning_rate > self.learning_rate or self.warmup_iterations >= self.iterations:
            raise ValueError(
                f"stage {self.name!r}: the rate falls from learning_rate {self.learning_rate:g} to final_learning_rate "
                f"{self.final_learning_rate:g} after {self.warmup_iterations} of {self.iterations} iterations; lower "
                "final_learning_rate or warmup_iterations"
            )
        if self.kl_schedule == "cyclical" and self.kl_warmup_iterations:
            raise ValueError(
                f"stage {self.name!r}: kl_schedule cyclical has its own rise, kl_warmup_iterations "
                f"{self.kl_warmup_iterations} would be ignored; drop one of the two"
            )
        if self.kl_schedule == "cyclical" and self.kl_cycles > self.iterations:
            raise ValueError(
                f"stage {self.name!r}: {self.kl_cycles} cycles do not fit into {self.iterations} iterations; lower "
                "kl_cycles"
            )
        return self


class TrainConfig(Section):
    """Optimization."""

    bookkeeping = frozenset(
        {
            "validate_every", "validation_init_times", "validation_members", "checkpoint_every", "keep_states",
            "log_every", "collapse_alarm_logs", "trackers", "non_finite", "non_finite_limit", "parallel",
            "ranks_per_sample", "gather_gradients", "recompute", "compile",
        }
    )  # fmt: skip

    stages: Annotated[tuple[StageConfig, ...], Field(min_length=1)]
    weight_decay: NonNegativeFloat = 0.1
    betas: tuple[Momentum, Momentum] = (0.9, 0.95)
    clip_norm: PositiveFloat = 1.0
    ema_decay: Momentum = 0.999
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """Autocast type of the forward pass; norms, losses and optimizer state stay float32."""
    channel_weights: Literal["equal", "increment"] = "equal"
    """`equal` in standardized units, or proportional to 1 / standard deviation of the 6 h increment, which lets slowly
    varying channels count."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """How many processes share one training: `ddp` holds everything in each of them, `fsdp` divides weights, gradients
    and optimizer state among them."""
    ranks_per_sample: PositiveInt = 1
    """Neighboring processes that share a sample and divide its members among them."""
    gather_gradients: Literal["local", "all"] = "local"
    """How the CRPS of divided members is differentiated: `local` through the own members of each process, `all` through
    the gathering too. Equal gradients; `all` communicates a second time."""
    recompute: bool = False
    """Run each block again backwards instead of keeping its inner tensors: far less memory, a third more time."""
    compile: bool = False
    """Compile the blocks with torch.compile; the first iteration then takes minutes."""
    non_finite: Literal["stop", "skip"] = "stop"
    """What happens at a gradient that is not finite: an error, or an iteration without a change of the weights."""
    non_finite_limit: PositiveInt = 5
    """Skipped iterations in a row after which `skip` stops as well."""
    validate_every: PositiveInt = 1000
    validation_init_times: PositiveInt = 16
    validation_members: Members = 8
    checkpoint_every: PositiveInt = 500
    keep_states: PositiveInt = 2
    """Newest states kept for resuming; the best of the current stage by validation is kept beside them."""
    log_every: PositiveInt = 50
    trackers: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = ("tensorboard",)
    """Where losses and validation scores go beside metrics.jsonl; all write below run.folder, none needs internet."""
    collapse_alarm_logs: PositiveInt = 3
    """Logged iterations in a row with a posterior that says no more than the prior, after which a warning comes."""


class LeadStageConfig(Section):
    """One forecast stage of a cascade by lead time, with weights of its own (FuXi 2023: short, medium, long)."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    until_hours: PositiveInt
    """Last lead time that it makes; it starts where the stage before it ends."""


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


class VerifyConfig(Section):
    """Which systems are compared with which truth."""

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
    climatology: ClimatologyConfig


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
