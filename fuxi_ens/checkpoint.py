"""The deployable model: a folder with weights, configuration, provenance and a model card. No pickle anywhere.

`weights.safetensors` holds the network with its statistics and static fields; `model.json` says how to build it.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open

from fuxi_ens.config import ModelConfig
from fuxi_ens.errors import StoreError
from fuxi_ens.files import write_atomic
from fuxi_ens.model import FuxiEns, build_model
from fuxi_ens.weights import Weight, write_weights

WEIGHTS = "weights.safetensors"
DESCRIPTION = "model.json"
CARD = "README.md"
_POSTERIOR = "dist_q."
_INFERENCE = ("dist_p.", "decoder.")


@dataclass(frozen=True)
class Checkpoint:
    """A model with what is known about it."""

    model: FuxiEns
    step_size_hours: int
    provenance: dict[str, str | int]
    weights_hash: str
    """SHA-256 of the weights file; tells trained models apart."""


class _Description(BaseModel):
    """Contents of model.json."""

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    step_size_hours: int
    weights_hash: str
    model: ModelConfig
    provenance: dict[str, str | int]


@dataclass(frozen=True, slots=True)
class _Held:
    """A tensor of a model in memory as a `Weight`."""

    tensor: torch.Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    def read(self) -> NDArray[np.float32]:
        values: NDArray[np.float32] = self.tensor.detach().cpu().numpy()
        return values


def save_checkpoint(folder: Path, model: FuxiEns, step_size_hours: int, provenance: dict[str, str | int]) -> None:
    """Write the folder for a model in memory."""
    weights = {name: _Held(tensor) for name, tensor in model.state_dict().items()}
    write_checkpoint(folder, model.config, weights, step_size_hours, provenance)


def write_checkpoint(
    folder: Path,
    config: ModelConfig,
    weights: Mapping[str, Weight],
    step_size_hours: int,
    provenance: dict[str, str | int],
) -> None:
    """Write the folder, tensor by tensor; `model.json` comes last and names the weights it belongs to.

    `weights` has the keys of the model's state; those of the posterior may be left out.
    """
    description = _Description(
        step_size_hours=step_size_hours,
        weights_hash=write_weights(folder / WEIGHTS, weights),
        model=config,
        provenance=provenance,
    )
    write_atomic(folder / CARD, _card(config, weights, provenance).encode())
    write_atomic(folder / DESCRIPTION, description.model_dump_json(indent=1).encode() + b"\n")


def is_complete(folder: Path) -> bool:
    """Whether a model was written here to the end."""
    return all((folder / name).exists() for name in (DESCRIPTION, WEIGHTS))


def load_checkpoint(folder: Path, device: str | torch.device = "cpu", *, posterior: bool = False) -> Checkpoint:
    """Build the model from the folder alone. Raises StoreError for an absent, damaged or foreign folder.

    Forecasts need no posterior; with `posterior` it is loaded too, and must be there.
    """
    try:
        description = _Description.model_validate_json((folder / DESCRIPTION).read_bytes())
        with (folder / WEIGHTS).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != description.weights_hash:
            raise StoreError(
                f"{folder / WEIGHTS} is damaged or is not that of {DESCRIPTION}; delete it and run `fuxi-ens train`, "
                "which writes it again"
            )
        model = build_model(description.model, posterior=posterior)
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            wanted = [name for name in file.keys() if posterior or not name.startswith(_POSTERIOR)]  # noqa: SIM118
            model.load_state_dict({name: file.get_tensor(name) for name in wanted})
    except FileNotFoundError as error:
        raise StoreError(
            f"no finished model in {folder} ({error.filename} is missing); run `fuxi-ens train`"
        ) from error
    except (ValidationError, SafetensorError, RuntimeError) as error:
        raise StoreError(f"the model in {folder} is damaged or of another version: {error}") from error
    return Checkpoint(
        model.to(device).eval(), description.step_size_hours, description.provenance, description.weights_hash
    )


def _card(config: ModelConfig, weights: Mapping[str, Weight], provenance: dict[str, str | int]) -> str:
    parameters = sum(math.prod(weight.shape) for name, weight in weights.items() if name.startswith(_INFERENCE))
    facts = "\n".join(f"- {key}: {value}" for key, value in provenance.items())
    return (
        f"# FuXi-ENS type model, {config.height}x{config.width}, {len(config.channels)} channels\n\n"
        f"{parameters:,} parameters at inference (perturbation network and forecast network). "
        f"Channels: {', '.join(config.channels)}.\n\n"
        f"Load with `fuxi_ens.checkpoint.load_checkpoint`, or run `fuxi-ens forecast`.\n\n## Provenance\n\n{facts}\n"
    )
