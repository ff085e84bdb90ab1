"""A network that waits for its weights: building it draws no random numbers and takes no memory for parameters."""

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from fuxi_ens.config import ModelConfig
from fuxi_ens.model.fuxi_ens import FuxiEns, build_model


def unfilled_model(config: ModelConfig, *, posterior: bool = True) -> FuxiEns:
    """The network with parameters on the meta device, and with the real tables it computes itself.

    Masks, rotary angles and the like are in no file; with the whole network on the meta device they would be lost.
    Fill it with `load_state_dict(weights, assign=True)`. The hook acts on every module of the process: no other thread
    may build one meanwhile.
    """
    # What the hook returns is used, as torch documents; its annotation does not say so.
    hook = register_module_parameter_registration_hook(_on_meta)  # type: ignore[arg-type]
    try:
        return build_model(config, posterior=posterior)
    finally:
        hook.remove()


def _on_meta(_module: nn.Module, _name: str, parameter: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(parameter.to("meta"), parameter.requires_grad)
