"""A cascade in training: networks for successive lead times, each starting from the one before (FuXi 2023).

Without a cascade there is one network for all lead times, and what is here comes down to writing it at the end.
"""

from pathlib import Path

import torch

from fuxi_ens.checkpoint import held, is_complete, load_checkpoint, write_cascade, write_checkpoint
from fuxi_ens.config import Config
from fuxi_ens.model import FuxiEns
from fuxi_ens.paths import RunPaths
from fuxi_ens.provenance import provenance
from fuxi_ens.train.average import RunningAverage
from fuxi_ens.train.module import Serving
from fuxi_ens.train.ranks import Ranks
from fuxi_ens.train.run import averaged_weights, deciding


class LeadStages:
    """Which forecast stage each training stage makes, and the finished ones."""

    def __init__(self, config: Config, ranks: Ranks, device: torch.device) -> None:
        self._config, self._ranks, self._device = config, ranks, device
        self._folder = RunPaths(config.run.folder).model

    def complete(self) -> bool:
        """Whether the whole model is on disk; the same answer on all ranks."""
        return self._ranks.from_main(is_complete(self._folder))

    def enter(self, number: int, model: FuxiEns, average: RunningAverage) -> None:
        """Before training stage `number`: where a new forecast stage begins, it starts from what the last one became.

        That is its averaged weights, those of its forecasts; they are written first.
        """
        if number and self._index(number) != self._index(number - 1):
            self.publish(number - 1, model, average)
            average.adopt()

    def publish(self, number: int, model: FuxiEns, average: RunningAverage) -> None:
        """Write the forecast stage that training stage `number` finished; the last one makes the model complete."""
        config, weights = self._config, averaged_weights(model, average)
        if self._ranks.main:
            facts = provenance(config, *deciding(config))
            folder = self._folder_of(self._index(number))
            write_checkpoint(folder, config.model, held(weights), config.data.step_size_hours, facts)
            if config.cascade and number == len(config.train.stages) - 1:
                write_cascade(self._folder, config.cascade)
        self._ranks.wait()

    def serving(self, number: int, model: FuxiEns) -> Serving | None:
        """The networks that lead to the lead times of training stage `number`; None if it starts at the analysis."""
        index = self._index(number)
        if not index:
            return None
        step = self._config.data.step_size_hours
        ends = [part.until_hours // step for part in self._config.cascade]
        earlier = [load_checkpoint(self._folder_of(i), self._device).model.requires_grad_(False) for i in range(index)]

        def at(k: int) -> FuxiEns:
            found = next(i for i, end in enumerate(ends) if k < end)
            return earlier[found] if found < index else model

        return at

    def _index(self, number: int) -> int:
        name = self._config.train.stages[number].lead_stage
        names = [part.name for part in self._config.cascade]
        return names.index(name) if name else 0

    def _folder_of(self, index: int) -> Path:
        return self._folder / self._config.cascade[index].name if self._config.cascade else self._folder
