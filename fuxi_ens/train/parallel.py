"""How a network is spread over ranks and made cheap to differentiate. The network itself knows nothing of it."""

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from fuxi_ens.config import StageConfig, TrainConfig
from fuxi_ens.model import FuxiEns
from fuxi_ens.model.blocks import blocks_of, compile_blocks, recompute_blocks
from fuxi_ens.model.passes import trains_posterior
from fuxi_ens.train.module import TrainingModule
from fuxi_ens.train.ranks import Ranks


def spread(model: FuxiEns, train: TrainConfig, ranks: Ranks) -> None:
    """Prepare `model` in place: recomputation, compilation, then sharding, each around the one before.

    Blocks are sharded one by one, then what is left of each network; the model as a whole is never called. Each network
    gathers a block's weights when it gets there and frees them behind it. They travel in float32: parts of the network
    compute in it even under autocast.
    """
    recompute_blocks(model, enabled=train.recompute)
    if train.compile:
        compile_blocks(model)
    if train.parallel == "ddp" or ranks.control is None:
        return
    # Nothing writes into what a network returns.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor", category=UserWarning)
    for network in _networks(model):
        for block in blocks_of(network):
            fully_shard(block)
        # Between calls parameters must be shards: averages and states are made of them.
        fully_shard(network, reshard_after_forward=True)


def wrapped(module: TrainingModule, train: TrainConfig, ranks: Ranks) -> nn.Module:
    """The module to call: as it is, or such that gradients come back averaged over all ranks."""
    if train.parallel == "fsdp" or ranks.control is None:
        return module
    with warnings.catch_warnings():
        # The new name of broadcast_buffers is unknown to the older versions that are supported.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", category=FutureWarning)
        return DistributedDataParallel(module, broadcast_buffers=False, gradient_as_bucket_view=True)


def unsynchronized(module: nn.Module) -> AbstractContextManager[None]:
    """Within it gradients add up on each rank by itself.

    Only where each rank holds all of them: sharded gradients are added up as shards, which takes less memory.
    """
    return module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()


def choose_trained(model: FuxiEns, stage: StageConfig) -> None:
    """Let the networks of the stage learn, and only those."""
    model.dist_p.requires_grad_(stage.objective == "crps_kl")
    if model.dist_q is not None:
        model.dist_q.requires_grad_(trains_posterior(stage))


def whole(norm: Tensor) -> float:
    """A norm as a number, the same on every rank."""
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)


def _networks(model: FuxiEns) -> Iterator[nn.Module]:
    yield model.dist_p
    if model.dist_q is not None:
        yield model.dist_q
    yield from model.decoder
