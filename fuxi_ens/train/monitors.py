"""What tells a healthy perturbation from a dead one; computed at logged iterations only, without gradients.

Shape legend: B batch, M members, T history frames, C channels, H latitude, W longitude.
"""

import logging
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from fuxi_ens.config import StageConfig
from fuxi_ens.losses.objective import channel_means
from fuxi_ens.model.gaussian import kl_divergence
from fuxi_ens.model.latent import Latent
from fuxi_ens.train.divergence import channel_kl

ACTIVE_NATS = 0.01
"""A latent channel is active if the part of KL(Q || P) that comes from the means is above this, per element.

Only the mean brings the truth into a forecast: another variance than P's costs KL as well and tells nothing.
"""

Monitors = dict[str, float | Mapping[str, float]]
log = logging.getLogger(__name__)


@torch.no_grad()
def latent_monitors(q: Latent, p: Latent, mask: Tensor, channels: tuple[str, ...]) -> Monitors:
    """KL(Q || P) of every element by itself, by channel and by scale, and the share of latent channels in use.

    The KL of an element has a part from the means, 0.5 d^2 with d = (mean of Q - mean of P) / sigma of P, and a part
    from the variances. The first is a field with scales: `kl_scales` splits it by the side of square blocks in grid
    points. Entry n is what means over blocks of n x n points have beyond means over blocks of 2n x 2n, the last entry
    what remains at all larger scales; they and `kl_variances` sum up to the mean KL.
    """
    q_each, p_each = q.marginal(), p.marginal()
    kl_TC, count_TC = channel_kl(kl_divergence(q_each, p_each), mask)
    counted, total = count_TC > 0, count_TC.sum().clamp(min=1.0)
    by_channel = zip(channels, ((kl_TC * count_TC).sum(0) / count_TC.sum(0)).tolist(), strict=True)
    shift = (q_each.mean - p_each.mean) * torch.exp(-0.5 * p_each.logvar) * mask
    moved_TC, _ = channel_kl(0.5 * shift.square(), mask)
    scales = _scales(shift, total)
    return {
        "kl_channels": {name: kl for (name, kl), some in zip(by_channel, counted.any(0).tolist(), strict=True) if some},
        "kl_scales": scales,
        "kl_variances": ((kl_TC * count_TC).sum() / total).item() - sum(scales.values()),
        "active_dimensions": (moved_TC[counted] > ACTIVE_NATS).float().mean().item() if counted.any() else 0.0,
    }


def _scales(shift_BTCHW: Tensor, total: Tensor) -> dict[str, float]:
    """0.5 d^2 per element by block side; block means are orthogonal projections, so that differences are the bands."""
    shift_N1HW, sides = shift_BTCHW.flatten(0, 2)[:, None], [1]
    while 2 * sides[-1] <= min(shift_N1HW.shape[-2:]):
        sides.append(2 * sides[-1])
    energy = torch.stack([_block_energy(shift_N1HW, side) for side in sides])
    bands = 0.5 * torch.cat([energy[:-1] - energy[1:], energy[-1:]]) / total
    return {str(side): band for side, band in zip(sides, bands.tolist(), strict=True)}


def _block_energy(field_N1HW: Tensor, side: int) -> Tensor:
    """Sum over points of the squared mean of the block each is in; blocks at the edges may be smaller."""
    means = F.avg_pool2d(field_N1HW, side, ceil_mode=True)
    rows, columns = (_block_sizes(n, side, field_N1HW.device) for n in field_N1HW.shape[-2:])
    return (means.square() * rows[:, None] * columns).sum(dtype=torch.float64)


def _block_sizes(points: int, side: int, device: torch.device) -> Tensor:
    starts = torch.arange(0, points, side, device=device)
    return (points - starts).clamp(max=side)


@torch.no_grad()
def ensemble_moments(ens_BMCHW: Tensor, truth_BCHW: Tensor, area_H: Tensor) -> Tensor:
    """Variance of the members and squared error of their mean, means over points and channels, [2]."""
    valid = torch.isfinite(truth_BCHW)
    mean_BCHW = ens_BMCHW.mean(1)
    points = (ens_BMCHW.var(1), (mean_BCHW - truth_BCHW).square())
    return torch.stack([channel_means(score, valid, area_H).mean() for score in points])


def spread_skill_ratio(moments_2: Tensor, members: int) -> float:
    """Root of variance over squared error, 1 for a reliable ensemble of any size (verification.md 7)."""
    variance, squared_error = moments_2.double()
    return float(((1.0 + 1.0 / members) * variance / squared_error).sqrt())


class CollapseAlarm:
    """Warns once a spell when the posterior has told nothing for some logged iterations although its KL costs.

    Stages whose members come from the prior alone are left in peace: there Q has nothing to tell.
    """

    def __init__(self, stage: StageConfig, patience: int) -> None:
        self._stage, self._patience = stage, patience
        self.silent = 0
        """Logged iterations in a row that told nothing; part of the state of a run."""

    def hear(self, monitors: Mapping[str, float | Mapping[str, float]], kl_weight: float) -> None:
        """Take note of a logged iteration."""
        if self._stage.objective == "l1" or self._stage.sampled == "prior" or kl_weight == 0.0:
            return
        self.silent = 0 if monitors["active_dimensions"] else self.silent + 1
        if self.silent == self._patience:
            log.warning(
                "stage %r: posterior collapse: for %d logged iterations the truth has moved the posterior's mean by "
                "less than %g nats per element in every channel, so it tells the forecast nothing that the prior does "
                "not. Lower kl_weight (now %g), or set kl_schedule: cyclical or kl_free_nats: %g; if members of the "
                "prior alone are what you want, set sampled: prior",
                self._stage.name, self._patience, ACTIVE_NATS, kl_weight, 5 * ACTIVE_NATS,
            )  # fmt: skip
