"""The deployable model: a folder with weights, configuration, provenance and a model card. No pickle anywhere.

`weights.safetensors` holds the network with its statistics and static fields; `model.json` says how to build it.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from fuxi_ens.config import ModelConfig
from fuxi_ens.errors import StoreError
from fuxi_ens.files import write_atomic
from fuxi_ens.model import FuxiEns, build_model

WEIGHTS = "weights.safetensors"
DESCRIPTION = "model.json"
CARD = "README.md"
_SCHEMA = 1


@dataclass(frozen=True)
class Checkpoint:
    """A model with what is known about it."""

    model: FuxiEns
    step_size_hours: int
    provenance: dict[str, Any]
    weights_hash: str
    """First 12 hex digits of the SHA-256 of the weights file."""


def save_checkpoint(folder: Path, model: FuxiEns, step_size_hours: int, provenance: dict[str, Any]) -> None:
    """Write the folder; `model.json` comes last and makes it complete."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    description = {
        "schema": _SCHEMA,
        "step_size_hours": step_size_hours,
        "model": model.config.model_dump(mode="json"),
        "provenance": provenance,
    }
    write_atomic(folder / WEIGHTS, save(weights))
    write_atomic(folder / CARD, _card(model, provenance).encode())
    write_atomic(folder / DESCRIPTION, json.dumps(description, indent=1).encode() + b"\n")


def load_checkpoint(folder: Path, device: str | torch.device = "cpu") -> Checkpoint:
    """Build the model from the folder alone. Raises StoreError for an absent, damaged or foreign folder."""
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        weights = load_file(folder / WEIGHTS)
    except FileNotFoundError as error:
        raise StoreError(
            f"no finished model in {folder} ({error.filename} is missing); run `fuxi-ens train`"
        ) from error
    except (json.JSONDecodeError, SafetensorError) as error:
        raise StoreError(f"the model in {folder} is damaged: {error}") from error
    if description.get("schema") != _SCHEMA:
        raise StoreError(f"{folder} has model schema {description.get('schema')}, this version reads {_SCHEMA}")
    try:
        model = build_model(ModelConfig.model_validate(description["model"]))
        model.load_state_dict(weights)
    except (ValidationError, RuntimeError) as error:
        raise StoreError(f"the weights in {folder} do not fit its {DESCRIPTION}: {error}") from error
    with (folder / WEIGHTS).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:12]
    return Checkpoint(model.to(device).eval(), description["step_size_hours"], description["provenance"], digest)


def _card(model: FuxiEns, provenance: dict[str, Any]) -> str:
    config = model.config
    parameters = sum(p.numel() for part in (model.dist_p, model.decoder) for p in part.parameters())
    facts = "\n".join(f"- {key}: {value}" for key, value in provenance.items())
    return (
        f"# FuXi-ENS type model, {config.height}x{config.width}, {len(config.channels)} channels\n\n"
        f"{parameters:,} parameters at inference (perturbation network and forecast network). "
        f"Channels: {', '.join(config.channels)}.\n\n"
        f"Load with `fuxi_ens.checkpoint.load_checkpoint`, or run `fuxi-ens forecast`.\n\n## Provenance\n\n{facts}\n"
    )
