"""The model folder as a whole: one network, or a cascade with `cascade.json`, which says which network serves when.

The table is written last and names the weights of every stage, so that a stage of another training is noticed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fuxi_ens.checkpoint.folder import (
    CARD,
    DESCRIPTION,
    Description,
    is_whole,
    load_checkpoint,
    read_description,
    write_stage_card,
)
from fuxi_ens.checkpoint.lead_models import LeadModels, LeadStage
from fuxi_ens.config import LeadStageConfig
from fuxi_ens.config.cascade import check_table
from fuxi_ens.errors import StoreError
from fuxi_ens.files import write_atomic

CASCADE = "cascade.json"


class _Stage(LeadStageConfig):
    """A line of the table; the network is in the subfolder of its name."""

    weights_hash: str


class _Table(BaseModel):
    """Contents of cascade.json."""

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    stages: Annotated[tuple[_Stage, ...], Field(min_length=1)]


def write_cascade(folder: Path, cascade: Sequence[LeadStageConfig]) -> None:
    """Declare the networks in the subfolders of `folder` one model; their cards then name their lead times.

    Raises StoreError when one of them is missing, or when they cannot follow each other.
    """
    descriptions = {part.name: read_description(folder / part.name) for part in cascade}
    _require_alike(folder, cascade, descriptions)
    first = step = descriptions[cascade[0].name].step_size_hours
    for part in cascade:
        write_stage_card(folder / part.name, (first, part.until_hours))
        first = part.until_hours + step
    stages = tuple(
        _Stage(name=part.name, until_hours=part.until_hours, weights_hash=descriptions[part.name].weights_hash)
        for part in cascade
    )
    write_atomic(folder / CARD, _card(cascade).encode())
    write_atomic(folder / CASCADE, _Table(stages=stages).model_dump_json(indent=1).encode() + b"\n")


def is_complete(folder: Path) -> bool:
    """Whether a model was written here to the end. Raises StoreError when the table of a cascade is damaged."""
    if (folder / CASCADE).exists():
        return all(is_whole(folder / stage.name) for stage in _read_table(folder).stages)
    return is_whole(folder)


def load_models(folder: Path, device: str | torch.device = "cpu") -> LeadModels:
    """The networks that make a forecast on `device`, from the folder alone, without posteriors.

    Raises StoreError for an absent, damaged or foreign folder, and for stages that do not belong together.
    """
    device = torch.device(device)
    if not (folder / CASCADE).exists():
        return LeadModels((LeadStage("", None, load_checkpoint(folder)),), device)
    if (folder / DESCRIPTION).exists():
        raise StoreError(
            f"{folder} holds two models, that of {DESCRIPTION} and that of {CASCADE}; move one to another folder"
        )
    stages = _read_table(folder).stages
    descriptions = {stage.name: read_description(folder / stage.name) for stage in stages}
    _require_alike(folder, stages, descriptions)
    for stage in stages:
        if descriptions[stage.name].weights_hash != stage.weights_hash:
            raise StoreError(
                f"the forecast stage in {folder / stage.name} is not the one that {CASCADE} names; put back the one it "
                f"was trained with, or delete {folder} and run `fuxi-ens train`, which writes all of them again"
            )
    return LeadModels(
        tuple(LeadStage(stage.name, stage.until_hours, load_checkpoint(folder / stage.name)) for stage in stages),
        device,
    )


def _read_table(folder: Path) -> _Table:
    try:
        return _Table.model_validate_json((folder / CASCADE).read_bytes())
    except ValidationError as error:
        raise StoreError(
            f"{folder / CASCADE} is damaged or of another version; delete it and run `fuxi-ens train`, which writes it "
            f"again: {error}"
        ) from error


def _require_alike(folder: Path, stages: Sequence[LeadStageConfig], descriptions: Mapping[str, Description]) -> None:
    """Raise StoreError unless each stage can go on from the state of the one before it, lead time after lead time."""
    first, *others = (descriptions[stage.name] for stage in stages)
    try:
        check_table(tuple(stages), first.step_size_hours)
    except ValueError as error:
        raise StoreError(f"the model in {folder} is no cascade: {error}") from error
    for stage, other in zip(stages[1:], others, strict=True):
        for key, expected, got in (
            ("step_size_hours", first.step_size_hours, other.step_size_hours),
            ("channels", first.model.channels, other.model.channels),
            ("grid", first.model.grid, other.model.grid),
        ):
            if got != expected:
                raise StoreError(
                    f"forecast stage {stage.name!r} in {folder} cannot take over from {stages[0].name!r}: {key} is "
                    f"{got}, expected {expected}; train all stages with one config"
                )


def _card(cascade: Sequence[LeadStageConfig]) -> str:
    lines = "\n".join(f"- `{part.name}`: up to {part.until_hours} h" for part in cascade)
    return (
        "# FuXi-ENS type model, a cascade by lead time\n\n"
        f"Each folder holds one network; it starts from the state that the one before it leaves:\n\n{lines}\n\n"
        "Run `fuxi-ens forecast`, or load with `fuxi_ens.checkpoint.load_models`. Provenance is on the cards of the "
        "networks.\n"
    )
