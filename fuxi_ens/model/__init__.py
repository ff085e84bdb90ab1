"""The network: tensors in, tensors out. Knows nothing of files, of dates, or of how many processes train it."""

from fuxi_ens.model.fuxi_ens import FuxiEns, build_model

__all__ = ["FuxiEns", "build_model"]
