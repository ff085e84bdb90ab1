"""The sections `train` and `cascade`: stages of training and how they run."""

from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from fuxi_ens.config.base import Section
from fuxi_ens.config.fields import (
    ALMOST_FAIR_ALPHA,
    Estimator,
    Members,
    Momentum,
    Precision,
)


class StageConfig(Section):
    """One stage of training; stages run in the order of the list, each from the weights of the one before."""

    bookkeeping = frozenset({"batch_size", "accumulate"})
    """They say how the samples of an iteration are divided; the same samples on other machines need other values."""

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
    precision: Precision = "bfloat16"
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
    """Members of each validation forecast; all are in memory at once."""
    checkpoint_every: PositiveInt = 500
    keep_states: PositiveInt = 2
    """Newest states kept for resuming; the best of the current stage by validation is kept beside them."""
    log_every: PositiveInt = 50
    trackers: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = ("tensorboard",)
    """Where losses and validation scores go beside metrics.jsonl; all write below run.folder, none needs internet."""
    collapse_alarm_logs: PositiveInt = 3
    """Logged iterations in a row with a posterior that says no more than the prior, after which a warning comes."""

    @model_validator(mode="after")
    def _members_divide(self) -> Self:
        uneven = [s.name for s in self.stages if s.objective == "crps_kl" and s.members % self.ranks_per_sample]
        if uneven:
            raise ValueError(
                f"ranks_per_sample {self.ranks_per_sample} does not divide the members of the stages {uneven}; change "
                "one of the two"
            )
        return self


class LeadStageConfig(Section):
    """One forecast stage of a cascade by lead time, with weights of its own (FuXi 2023: short, medium, long)."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    until_hours: PositiveInt
    """Last lead time that it makes; it starts where the stage before it ends."""
