"""Size of a network, counted on the meta device: takes no memory, whatever the size."""

from torch import nn

from fuxi_ens.config import ModelConfig
from fuxi_ens.model.fuxi_ens import build_model


def summarize(config: ModelConfig) -> dict[str, int]:
    """Parameters per network and bytes of the float32 weights that a forecast loads."""
    model = build_model(config, device="meta")
    prior, forecast = _parameters(model.dist_p), _parameters(model.decoder)
    rows, columns = config.token_grid
    return {
        "tokens": rows * columns,
        "prior_parameters": prior,
        "posterior_parameters": _parameters(model.dist_q),
        "forecast_parameters": forecast,
        "inference_parameters": prior + forecast,
        "inference_weight_bytes": 4 * (prior + forecast),
    }


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
