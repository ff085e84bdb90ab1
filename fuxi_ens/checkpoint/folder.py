"""The folder of one network: `weights.safetensors` with its statistics and static fields, and how to build it.

`model.json` says how to build it and names the weights it belongs to; it is written last.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
from fuxi_ens.model import FuxiEns
from fuxi_ens.model.unfilled import unfilled_model
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


class Description(BaseModel):
    """Contents of model.json."""

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    step_size_hours: int
    weights_hash: str
    model: ModelConfig
    provenance: dict[str, str | int]


@dataclass(frozen=True, slots=True)
class _Held:
    """A tensor in memory as a `Weight`."""

    tensor: torch.Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    def read(self) -> NDArray[np.float32]:
        values: NDArray[np.float32] = self.tensor.detach().cpu().numpy()
        return values


def held(state: Mapping[str, torch.Tensor]) -> dict[str, Weight]:
    """Whole float32 tensors in memory, such as a gathered state, in the form that `write_checkpoint` takes."""
    return {name: _Held(tensor) for name, tensor in state.items()}


def save_checkpoint(folder: Path, model: FuxiEns, step_size_hours: int, provenance: dict[str, str | int]) -> None:
    """Write the folder for a model in memory."""
    write_checkpoint(folder, model.config, held(model.state_dict()), step_size_hours, provenance)


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
    description = Description(
        step_size_hours=step_size_hours,
        weights_hash=write_weights(folder / WEIGHTS, weights),
        model=config,
        provenance=provenance,
    )
    write_atomic(folder / CARD, _card(description, {name: weight.shape for name, weight in weights.items()}).encode())
    write_atomic(folder / DESCRIPTION, description.model_dump_json(indent=1).encode() + b"\n")


def is_whole(folder: Path) -> bool:
    """Whether one network was written here to the end."""
    return all((folder / name).exists() for name in (DESCRIPTION, WEIGHTS))


def read_description(folder: Path) -> Description:
    """What `model.json` says. Raises StoreError for an absent, damaged or foreign folder."""
    with _explained(folder):
        return Description.model_validate_json((folder / DESCRIPTION).read_bytes())


def load_checkpoint(folder: Path, device: str | torch.device = "cpu", *, posterior: bool = False) -> Checkpoint:
    """Build the model from the folder alone. Raises StoreError for an absent, damaged or foreign folder.

    Forecasts need no posterior; with `posterior` it is loaded too, and must be there.
    """
    description = read_description(folder)
    with _explained(folder):
        with (folder / WEIGHTS).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != description.weights_hash:
            raise StoreError(
                f"{folder / WEIGHTS} is damaged or is not that of {DESCRIPTION}; delete it and run `fuxi-ens train`, "
                "which writes it again"
            )
        weights = _read_weights(folder / WEIGHTS, posterior=posterior)
    model = unfilled_model(description.model, posterior=posterior)
    try:
        model.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise StoreError(f"the model in {folder} is damaged or of another version: {error}") from error
    return Checkpoint(
        model.to(device).eval(), description.step_size_hours, description.provenance, description.weights_hash
    )


def write_stage_card(folder: Path, lead_hours: tuple[int, int]) -> None:
    """Write the card of a finished network again, now with the first and last lead time that it serves."""
    with _explained(folder), safe_open(folder / WEIGHTS, framework="np") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    write_atomic(folder / CARD, _card(read_description(folder), shapes, lead_hours).encode())


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """What reading a folder can raise, as an error that says what to do."""
    try:
        yield
    except FileNotFoundError as error:
        raise StoreError(
            f"no finished model in {folder} ({error.filename} is missing); run `fuxi-ens train`"
        ) from error
    except (ValidationError, SafetensorError) as error:
        raise StoreError(f"the model in {folder} is damaged or of another version: {error}") from error


def _read_weights(path: Path, *, posterior: bool) -> dict[str, torch.Tensor]:
    """Copies: the mapped file is read only when touched, and lies unaligned, for which MKL promises no equal bits."""
    with safe_open(path, framework="pt") as file:
        wanted = [name for name in file.keys() if posterior or not name.startswith(_POSTERIOR)]  # noqa: SIM118
        return {name: file.get_tensor(name).to(torch.float32, copy=True) for name in wanted}


def _card(
    description: Description, shapes: Mapping[str, tuple[int, ...]], lead_hours: tuple[int, int] | None = None
) -> str:
    config = description.model
    parameters = sum(math.prod(shape) for name, shape in shapes.items() if name.startswith(_INFERENCE))
    facts = "\n".join(f"- {key}: {value}" for key, value in description.provenance.items())
    served = ""
    if lead_hours:
        first, last = lead_hours
        served = f"The network of a cascade for lead times {first} to {last} h. "
    return (
        f"# FuXi-ENS type model, {config.height}x{config.width}, {len(config.channels)} channels\n\n"
        f"{served}{parameters:,} parameters at inference (perturbation network and forecast network). "
        f"Channels: {', '.join(config.channels)}.\n\n"
        f"Load with `fuxi_ens.checkpoint.load_checkpoint`, or run `fuxi-ens forecast`.\n\n## Provenance\n\n{facts}\n"
    )
