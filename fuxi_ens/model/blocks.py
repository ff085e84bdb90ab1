"""What may be done to all blocks of a network from outside, without the network knowing of training."""

from collections.abc import Iterator

from torch import nn

from fuxi_ens.model.block import Block, Layer

_VERSIONS = 64


def blocks_of(network: nn.Module) -> Iterator[Block]:
    """Every block below `network`: the units to recompute, compile or shard."""
    return (module for module in network.modules() if isinstance(module, Block))


def recompute_blocks(network: nn.Module, *, enabled: bool = True) -> None:
    """Keep only the input of each block for the gradient and run the block again backwards.

    Gradients have the same bits; memory falls from all activations to one tensor of tokens per block, for about a
    third more time.
    """
    for module in network.modules():
        if isinstance(module, Layer):
            module.recompute = enabled


def compile_blocks(network: nn.Module) -> None:
    """Compile each block in place, without graph breaks and for fixed shapes; keys of the state stay as they are."""
    # Not imported above: it takes a second, and few compile.
    from torch._dynamo import config

    # All blocks share their code: a version for each batch size (samples, members), shift, autocast and gradient mode.
    config.recompile_limit = max(config.recompile_limit, _VERSIONS)
    for block in blocks_of(network):
        block.compile(fullgraph=True, dynamic=False)
