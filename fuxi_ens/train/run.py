"""What lives as long as a run, and the tensors that make it up."""

from dataclasses import dataclass
from typing import Any

import torch
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from fuxi_ens.config import Config, Section, StageConfig
from fuxi_ens.data.era5 import FrameReader
from fuxi_ens.losses.objective import Weights
from fuxi_ens.model import FuxiEns
from fuxi_ens.train.average import RunningAverage
from fuxi_ens.train.finite import FiniteGuard
from fuxi_ens.train.metrics_log import Record
from fuxi_ens.train.pace import Pace
from fuxi_ens.train.ranks import Ranks
from fuxi_ens.train.state import SavedState, StateStore

_FLAT = StateDictOptions(flatten_optimizer_state_dict=True)
_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


@dataclass
class Run:
    """Everything that lives as long as the run."""

    config: Config
    ranks: Ranks
    device: torch.device
    model: FuxiEns
    average: RunningAverage
    weights: Weights
    frames: FrameReader
    record: Record
    store: StateStore
    pace: Pace
    guard: FiniteGuard

    @property
    def stages(self) -> tuple[StageConfig, ...]:
        """The stages of the training."""
        return self.config.train.stages

    def iterations_before(self, stage: int) -> int:
        """Iterations of all stages before this one."""
        return sum(s.iterations for s in self.stages[:stage])


def deciding(config: Config) -> tuple[Section, ...]:
    """The sections that decide the weights."""
    return config.data, config.model, config.train, *config.cascade


def tensors(model: FuxiEns, average: RunningAverage, optimizer: torch.optim.Optimizer | None) -> dict[str, Any]:
    """What a state holds, each rank its shards; what is in it may be loaded in place."""
    state: dict[str, Any] = {"model": model.state_dict(), "average": average.state()}
    if optimizer is not None:
        state["optimizer"] = get_optimizer_state_dict(model, optimizer, options=_FLAT)
    return state


def restore(
    store: StateStore,
    saved: SavedState,
    model: FuxiEns,
    average: RunningAverage,
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Load a saved state into its owners; with an optimizer if the state is from the middle of its stage."""
    state = tensors(model, average, optimizer)
    store.load(saved, state)
    if optimizer is not None:
        set_optimizer_state_dict(model, optimizer, optim_state_dict=state["optimizer"], options=_FLAT)


def averaged_weights(model: FuxiEns, average: RunningAverage) -> dict[str, torch.Tensor]:
    """The averaged weights and the buffers, whole and on the CPU, on rank 0; collective where they are sharded."""
    with average.in_place():
        whole: dict[str, Any] = get_model_state_dict(model, options=_WHOLE)
        return {name: tensor.detach().clone() for name, tensor in whole.items()}
