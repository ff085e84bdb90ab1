"""The deployable model: a folder with weights, configuration, provenance and a model card. No pickle anywhere.

One network fills the folder itself. A cascade has one such folder per forecast stage below it, and a table of the lead
times that each of them serves.
"""

from fuxi_ens.checkpoint.cascade import CASCADE, is_complete, load_models, write_cascade
from fuxi_ens.checkpoint.folder import (
    CARD,
    DESCRIPTION,
    WEIGHTS,
    Checkpoint,
    held,
    load_checkpoint,
    save_checkpoint,
    write_checkpoint,
)
from fuxi_ens.checkpoint.lead_models import LeadModels, LeadStage

__all__ = [
    "CARD",
    "CASCADE",
    "DESCRIPTION",
    "WEIGHTS",
    "Checkpoint",
    "LeadModels",
    "LeadStage",
    "held",
    "is_complete",
    "load_checkpoint",
    "load_models",
    "save_checkpoint",
    "write_cascade",
    "write_checkpoint",
]
