"""Training losses on tensors. Published scores are a second implementation, `fuxi_ens.verify`; a test binds them."""

from fuxi_ens.losses.crps import ensemble_crps

__all__ = ["ensemble_crps"]
