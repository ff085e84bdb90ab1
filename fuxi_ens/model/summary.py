"""Size and work of a network, counted on the meta device: takes no memory, whatever the size."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fuxi_ens.config import ModelConfig
from fuxi_ens.model.blocks import blocks_of
from fuxi_ens.model.fuxi_ens import ForecastNet, build_model
from fuxi_ens.times import HISTORY


def summarize(config: ModelConfig) -> dict[str, int]:
    """Parameters per network and bytes of the float32 weights that a forecast loads."""
    model = build_model(config, "meta")
    prior, forecast = _parameters(model.dist_p), _parameters(model.decoder)
    rows, columns = config.token_grid
    return {
        "tokens": rows * columns,
        "prior_parameters": prior,
        "posterior_parameters": prior,
        "forecast_parameters": forecast,
        "inference_parameters": prior + forecast,
        "inference_weight_bytes": 4 * (prior + forecast),
    }


@dataclass(frozen=True, slots=True)
class Work:
    """Floating-point operations of one sample or member: two per multiplication and addition of a matrix product.

    Elementwise work is not counted; it costs time by memory traffic, not by arithmetic.
    """

    perturbation: int
    """Of P or Q, and of the perturbation that is drawn from it."""
    forecast: int
    """Of the forecast network."""
    block: int
    """Of one block; all blocks are alike."""


@cache
def forward_work(config: ModelConfig) -> Work:
    """Of one pass through each network."""
    model = build_model(config, "meta", posterior=False)
    frames = torch.zeros(1, HISTORY, len(config.channels), config.height, config.width, device="meta")
    clock = torch.zeros(1, 3, device="meta")
    xi = torch.zeros(1, config.patterns, device="meta") if config.patterns else None
    network = model.decoder[0]
    assert isinstance(network, ForecastNet)
    tokens = torch.zeros(1, *config.token_grid, config.embedding, device="meta")
    cond = torch.zeros(1, config.embedding, device="meta")
    return Work(
        perturbation=_flops(lambda: model.prior(frames, clock).sample(frames, xi)),
        forecast=_flops(lambda: model.predict(frames, frames, clock)),
        block=_flops(lambda: next(blocks_of(model))(tokens, cond, network.windows(1))),
    )


def step_flops(config: ModelConfig) -> int:
    """Floating-point operations of one step of one member in a forecast, as `Work` counts them."""
    work = forward_work(config)
    return work.perturbation + work.forecast


def _flops(run: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return int(counter.get_total_flops())


def block_parameters(config: ModelConfig) -> int:
    """Parameters of one block; all blocks are alike."""
    return _parameters(next(blocks_of(build_model(config, "meta", posterior=False))))


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
