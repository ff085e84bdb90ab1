"""What happens at a gradient that is not finite. All ranks see the same norm, so all decide alike."""

import logging
import math
from dataclasses import dataclass

from torch import nn
from torch.distributed.tensor import DTensor

from fuxi_ens.config import StageConfig, TrainConfig
from fuxi_ens.errors import UserError
from fuxi_ens.losses.objective import ObjectiveTerms
from fuxi_ens.train.ranks import Ranks

log = logging.getLogger(__name__)


@dataclass
class FiniteGuard:
    """Stops the run or lets it skip iterations, as configured."""

    train: TrainConfig
    channels: tuple[str, ...]
    ranks: Ranks
    skipped: int = 0
    """Skipped iterations in all."""
    skipped_in_a_row: int = 0

    def passes(self, norm: float, terms: ObjectiveTerms, network: nn.Module, stage: StageConfig, i: int) -> bool:
        """Whether the weights may move at iteration `i`; `norm` is that of the whole gradient.

        Raises UserError on all ranks if the config says stop, or after too many skipped iterations in a row.
        """
        if math.isfinite(norm):
            self.skipped_in_a_row = 0
            return True
        complaint = self._complaint(terms, network, stage, i)
        if self.train.non_finite == "stop":
            raise UserError(complaint)
        self.skipped += 1
        self.skipped_in_a_row += 1
        if self.skipped_in_a_row >= self.train.non_finite_limit:
            raise UserError(f"{complaint}; {self.skipped_in_a_row} iterations in a row were skipped")
        log.warning("iteration skipped: %s", complaint)
        return False

    def _complaint(self, terms: ObjectiveTerms, network: nn.Module, stage: StageConfig, i: int) -> str:
        """What is wrong, in the words of the first rank where something is."""
        own = _loss_complaint(terms, self.channels, stage, i)
        losses = [text for text in self.ranks.gather(own) if text]
        gradients = [text for text in self.ranks.gather(_gradient_complaint(network, stage, i)) if text]
        nowhere = (
            f"the gradient of stage {stage.name!r} is not finite at iteration {i} in its norm; lower learning_rate"
        )
        return [*losses, *gradients, nowhere][0]


def _loss_complaint(terms: ObjectiveTerms, channels: tuple[str, ...], stage: StageConfig, i: int) -> str:
    if math.isfinite(terms.total.item()):
        return ""
    worst = [n for n, e in zip(channels, terms.error_C.tolist(), strict=True) if not math.isfinite(e)]
    return (
        f"the loss of stage {stage.name!r} is not finite at iteration {i} (error {terms.error.item()}, "
        f"KL {terms.kl.item()}, channels {worst}); lower learning_rate or check the data of that batch"
    )


def _gradient_complaint(network: nn.Module, stage: StageConfig, i: int) -> str:
    bad = [name for name, p in network.named_parameters() if p.grad is not None and not _finite(p.grad)]
    if not bad:
        return ""
    return (
        f"the gradient of stage {stage.name!r} is not finite at iteration {i} in {len(bad)} tensors, first {bad[0]}; "
        "lower learning_rate"
    )


def _finite(grad: DTensor | object) -> bool:
    local = grad.to_local() if isinstance(grad, DTensor) else grad
    return bool(local.isfinite().all())  # type: ignore[attr-defined]
