"""How much memory a network takes: sums of tensors by size and type, in bytes, before anything is built.

Activations are what autograd keeps from the forward pass for the gradient. Blocks hold nearly all of it; what each
operation of a block keeps is listed in `_block_bytes`. Kernels' scratch space and fragmentation come on top.
"""

from dataclasses import dataclass

from fuxi_ens.config import ModelConfig, StageConfig
from fuxi_ens.model.embed import STATIC_FIELDS
from fuxi_ens.model.summary import block_parameters, summarize
from fuxi_ens.times import HISTORY

_FLOAT, _HALF = 4, 2
_STATES = 5
"""Weights, gradients, two moments, running average."""
_KL_FIELDS = 5
"""Fields of the size of the perturbation that the KL term keeps."""
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
    """Devices that share weights, gradients and optimizer state."""
    cpu: bool = False
    """On a CPU attention is computed in float32 whatever the autocast type."""


def forecast_memory(config: ModelConfig, members: int) -> Memory:
    """Of a step with `members` members at once, float32: weights, and the tensors alive at the fullest moment."""
    tokens, field = _sizes(config)
    width, hidden = config.embedding, config.mlp_hidden
    # A block's MLP: embedding, input, sum, normed input, both halves of the first map, gelu and product.
    trunk = 5 * field + tokens * _FLOAT * (4 * width + 4 * hidden)
    # Sampling: frames, noise, input, mean, log-variance, sigma, product, perturbation.
    sampling = 8 * field
    weights = _FLOAT * summarize(config)["inference_parameters"]
    return Memory(weights + _FLOAT * _static(config), members * max(trunk, sampling))


def training_memory(config: ModelConfig, stage: StageConfig, placement: Placement) -> Memory:
    """Of one iteration of a stage on each device."""
    counts = summarize(config)
    parameters = counts["inference_parameters"] + counts["posterior_parameters"]
    working = 0
    if placement.world_size > 1:
        working += 2 * _FLOAT * block_parameters(config)  # gathered: the block at work and the next
    if placement.recompute:
        members = stage.members if stage.objective == "crps_kl" else 1
        working += stage.batch_size * members * _sizes(config)[0] * _block_bytes(config, placement)
        working += _HALF * block_parameters(config) if placement.bfloat16 else 0
    kept = _network_bytes(config, stage, placement) + _objective_bytes(config, stage)
    return Memory(_STATES * _FLOAT * parameters // placement.world_size, kept, working)


def _network_bytes(config: ModelConfig, stage: StageConfig, placement: Placement) -> int:
    """Kept by the networks in all their passes."""
    perturbation, forecast = _passes(config, stage)
    tokens, field = _sizes(config)
    stream = tokens * _FLOAT * config.embedding
    blocks = (perturbation * config.perturbation_layers + forecast * config.forecast_layers) * config.blocks_per_layer
    kept = blocks * (stream if placement.recompute else tokens * _block_bytes(config, placement))
    # Around the blocks: input of the first norm, last norm (twice), tokens of the heads, once for each if padded.
    around = 3 + (2 if config.height % config.patch else 1)
    frames = field // 2 if placement.bfloat16 else field
    kept += (perturbation + forecast) * (around * stream + frames)
    return kept + (_copied_weights(config, stage, placement) if placement.bfloat16 else 0)


def _copied_weights(config: ModelConfig, stage: StageConfig, placement: Placement) -> int:
    """Weights in the type of the products, kept with the activations; of blocks only where nothing remakes them."""
    width = config.embedding
    clock, last_norm = 3 * (257 * width + width * (width + 1)), 2 * width * (width + 1)
    inputs = HISTORY * len(config.channels) + STATIC_FIELDS
    around = clock + last_norm + width * (inputs * config.patch**2 + 2)
    perturbation_networks = 0 if stage.objective == "l1" else 2
    layers = perturbation_networks * config.perturbation_layers + config.forecast_layers
    in_blocks = layers * config.blocks_per_layer * block_parameters(config)
    remade = placement.recompute or placement.world_size > 1
    return _HALF * ((perturbation_networks + 1) * around + (0 if remade else in_blocks))


def _objective_bytes(config: ModelConfig, stage: StageConfig) -> int:
    """Kept by perturbations and losses, in float32."""
    _, forecast = _passes(config, stage)
    _, field = _sizes(config)
    kept = forecast * _ERROR_FRAMES[stage.objective] * field // HISTORY
    if stage.objective == "crps_kl":
        kept += 3 * forecast * field  # a draw: log-variance, sigma, noise
        kept += _KL_FIELDS * field * stage.batch_size * _copies(config, stage)
    return kept


def _passes(config: ModelConfig, stage: StageConfig) -> tuple[int, int]:
    """Samples that pass a perturbation network, and that pass the forecast network, in one iteration."""
    if stage.objective == "l1":
        return 0, stage.batch_size * stage.rollout_steps
    members = stage.batch_size * stage.members * (2 if stage.sampled == "both" else 1)
    first = 2 * stage.batch_size * _copies(config, stage)
    return first + members * (stage.rollout_steps - 1), members * stage.rollout_steps


def _copies(config: ModelConfig, stage: StageConfig) -> int:
    """With dropout every member has its own first perturbation network pass."""
    return stage.members if config.dropout else 1


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


def _sizes(config: ModelConfig) -> tuple[int, int]:
    """Tokens, and bytes of both history frames in float32."""
    rows, columns = config.token_grid
    return rows * columns, _FLOAT * HISTORY * len(config.channels) * config.height * config.width


def _static(config: ModelConfig) -> int:
    return STATIC_FIELDS * config.height * config.width
