"""How much memory a network takes: sums of tensors by size and type, in bytes, before anything is built.

Activations are what autograd keeps from the forward pass for the gradient. Blocks hold nearly all of it; what each
operation of a block keeps is listed in `_block_bytes`. Kernels' scratch space and fragmentation come on top.
"""

from dataclasses import dataclass

from fuxi_ens.config import Config, ModelConfig, StageConfig, TrainConfig
from fuxi_ens.model.embed import STATIC_FIELDS
from fuxi_ens.model.low_rank import CHUNK
from fuxi_ens.model.passes import Passes, count_passes, members_per_rank, trains_posterior
from fuxi_ens.model.summary import block_parameters, summarize
from fuxi_ens.times import HISTORY

_FLOAT, _HALF = 4, 2
_STATES, _FROZEN_STATES = 5, 2
"""Weights, gradients, two moments, running average; of a network that does not learn, weights and running average."""
_KL_FIELDS = {"diagonal": 5, "low_rank": 7}
"""Fields of the size of the perturbation that the KL term keeps."""
_KL_PATTERN_FIELDS = 6
"""Fields of that size that it keeps for each pattern of a low-rank latent."""
_ERROR_FRAMES = {"l1": 3, "crps_kl": 1}
"""Frames per member and step that the error term keeps."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on one device."""

    weights: int
    """In training with gradients, moments and running average."""
    activations: int
    """Kept at the same time: for the gradient, or by a forecast at its fullest."""
    working: int = 0
    """Of the block that is being computed, where blocks are recomputed or sharded."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.activations + self.working


@dataclass(frozen=True, slots=True)
class Placement:
    """How a training runs."""

    bfloat16: bool = True
    recompute: bool = False
    """Keep only the input of each block and run it again backwards."""
    world_size: int = 1
    """Devices that share weights, gradients and optimizer state; 1 where each holds all, whatever their number."""
    ranks_per_sample: int = 1
    """Devices that share the members of a sample."""
    cpu: bool = False
    """On a CPU attention is computed in float32 whatever the autocast type."""

    @classmethod
    def configured(cls, train: TrainConfig, devices: int) -> "Placement":
        """What a run says of itself, on so many devices."""
        shared = devices if train.parallel == "fsdp" else 1
        # One device cannot share a sample with others, whatever the run file plans for more.
        ranks_per_sample = min(train.ranks_per_sample, devices)
        return cls(train.precision == "bfloat16", train.recompute, shared, ranks_per_sample)


def forecast_memory(config: ModelConfig, members: int) -> Memory:
    """Of a step with `members` members at once, float32: weights, and the tensors alive at the fullest moment."""
    tokens, field = _sizes(config)
    width, hidden = config.embedding, config.mlp_hidden
    # A block's MLP: embedding, input, sum, normed input, both halves of the first map, gelu and product.
    trunk = 5 * field + tokens * _FLOAT * (4 * width + 4 * hidden)
    # Sampling: frames, noise, input, mean, log-variance, sigma, product, perturbation; patterns, and times amplitudes.
    sampling = 8 * field + 2 * _pattern_bytes(config)
    weights = _FLOAT * summarize(config)["inference_parameters"]
    return Memory(weights + _FLOAT * _static(config), members * max(trunk, sampling))


def run_memory(run: Config, placement: Placement) -> dict[str, Memory]:
    """Of one iteration of each stage of a run on each device, by the name of the stage."""
    names = [part.name for part in run.cascade]
    return {
        stage.name: training_memory(
            run.model, stage, placement, names.index(stage.lead_stage) if stage.lead_stage else 0
        )
        for stage in run.train.stages
    }


def training_memory(config: ModelConfig, stage: StageConfig, placement: Placement, lead_networks: int = 0) -> Memory:
    """Of one iteration of a stage on each device, with the longest rollouts of its curriculum.

    `lead_networks` are finished networks of earlier lead times that make the first steps; each device holds them whole.
    """
    passes = count_passes(config, stage, stage.rollout_steps, placement.ranks_per_sample)
    kept = _network_bytes(config, stage, placement, passes) + _objective_bytes(config, stage, passes)
    members = stage.batch_size * members_per_rank(stage, placement.ranks_per_sample)
    if passes.free_forecast:
        # Steps without gradient come first and leave nothing.
        kept = max(kept, forecast_memory(config, members).activations)
    lead_weights = lead_networks * _FLOAT * summarize(config)["inference_parameters"]
    weights = _state_bytes(config, stage) // placement.world_size + lead_weights
    return Memory(weights, kept, _working_bytes(config, placement, members) + _kl_chunk_bytes(config, stage, passes))


def _state_bytes(config: ModelConfig, stage: StageConfig) -> int:
    """Of all networks of a training: those that learn in this stage, and the others."""
    size = summarize(config)
    learns = {
        "prior_parameters": stage.objective == "crps_kl",
        "posterior_parameters": trains_posterior(stage),
        "forecast_parameters": True,
    }
    return _FLOAT * sum(size[name] * (_STATES if yes else _FROZEN_STATES) for name, yes in learns.items())


def _working_bytes(config: ModelConfig, placement: Placement, members: int) -> int:
    """Of the block at work for `members` samples, and of gathered weights."""
    working = 0
    if placement.world_size > 1:
        # The block at work and the next; what lies around the blocks stays gathered until its gradient is there.
        size, depth = summarize(config), 2 * config.perturbation_layers + config.forecast_layers
        everything = size["inference_parameters"] + size["posterior_parameters"]
        in_blocks = depth * config.blocks_per_layer * block_parameters(config)
        working += _FLOAT * (2 * block_parameters(config) + everything - in_blocks)
    if placement.recompute:
        working += members * _sizes(config)[0] * _block_bytes(config, placement)
        working += _HALF * block_parameters(config) if placement.bfloat16 else 0
    return working


def _network_bytes(config: ModelConfig, stage: StageConfig, placement: Placement, passes: Passes) -> int:
    """Kept by the networks in all their passes."""
    perturbation, forecast = passes.perturbation, passes.forecast
    tokens, field = _sizes(config)
    stream = tokens * _FLOAT * config.embedding
    blocks = (perturbation * config.perturbation_layers + forecast * config.forecast_layers) * config.blocks_per_layer
    kept = blocks * (stream if placement.recompute else tokens * _block_bytes(config, placement))
    # Around the blocks: input of the first norm, last norm (twice), tokens of the heads, once for each if padded.
    around = 3 + (2 if config.height % config.patch else 1)
    frames = field // 2 if placement.bfloat16 else field
    kept += (perturbation + forecast) * (around * stream + frames)
    return kept + (_copied_weights(config, stage, placement, passes) if placement.bfloat16 else 0)


def _copied_weights(config: ModelConfig, stage: StageConfig, placement: Placement, passes: Passes) -> int:
    """Weights in the type of the products, kept with the activations.

    One copy of each network; where blocks run again only what lies around them, but anew each time a network runs.
    """
    width = config.embedding
    clock, last_norm = 3 * (257 * width + width * (width + 1)), 2 * width * (width + 1)
    inputs = HISTORY * len(config.channels) + STATIC_FIELDS
    around = clock + last_norm + width * (inputs * config.patch**2 + 2)
    if placement.recompute:
        return _HALF * passes.runs * around
    perturbation_networks = 0 if stage.objective == "l1" else 1 + trains_posterior(stage)
    layers = perturbation_networks * config.perturbation_layers + config.forecast_layers
    in_blocks = layers * config.blocks_per_layer * block_parameters(config)
    return _HALF * ((perturbation_networks + 1) * around + in_blocks)


def _objective_bytes(config: ModelConfig, stage: StageConfig, passes: Passes) -> int:
    """Kept by perturbations and losses, in float32."""
    _, field = _sizes(config)
    kept = passes.forecast * _ERROR_FRAMES[stage.objective] * field // HISTORY
    if stage.objective == "crps_kl":
        kept += 3 * passes.forecast * field  # a draw: log-variance, sigma, noise
        kept += _KL_FIELDS[config.latent] * field * passes.first
        if not _kl_chunk_bytes(config, stage, passes):
            kept += _KL_PATTERN_FIELDS * config.patterns * field * passes.first
        else:
            kept += 2 * _pattern_bytes(config) * passes.first
    return kept


def _kl_chunk_bytes(config: ModelConfig, stage: StageConfig, passes: Passes) -> int:
    """Of the part of the KL of patterns that is taken at a time; 0 where it is taken at once."""
    if stage.objective == "l1" or not config.patterns:
        return 0
    channel = passes.first * config.patterns * config.height * config.width
    if channel * HISTORY * len(config.channels) <= CHUNK:
        return 0
    return _FLOAT * _KL_PATTERN_FIELDS * max(CHUNK, channel)


def _block_bytes(config: ModelConfig, placement: Placement) -> int:
    """What a block keeps per token."""
    product = _HALF if placement.bfloat16 else _FLOAT
    attention = _FLOAT if placement.cpu else product
    width, hidden = config.embedding, config.mlp_hidden
    residual = 4 * width * _FLOAT  # the stream before both norms, and both normed
    inputs = 4 * width * product  # of the maps to q, k, v and of the MLP; outputs of both, for their gates
    heads = 4 * width * attention + (width * product if attention != product else 0)  # q, k, v, mixed
    mlp = 4 * hidden * product  # both halves, gelu, product
    statistics = _FLOAT * (config.heads + 4)  # of the softmax and of the norms
    return residual + inputs + heads + mlp + statistics


def _pattern_bytes(config: ModelConfig) -> int:
    """Patterns of a low-rank latent, on the tokens."""
    return _sizes(config)[0] * _FLOAT * config.patterns * HISTORY * len(config.channels)


def _sizes(config: ModelConfig) -> tuple[int, int]:
    """Tokens, and bytes of both history frames in float32."""
    rows, columns = config.token_grid
    return rows * columns, _FLOAT * HISTORY * len(config.channels) * config.height * config.width


def _static(config: ModelConfig) -> int:
    return STATIC_FIELDS * config.height * config.width
