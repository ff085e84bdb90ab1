"""Skill on the validation period during training: members from the prior, as in a forecast.

Scores are in standardized units and steer training; the published scores come from `fuxi_ens.verify`.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from fuxi_ens.data.loader import Batch
from fuxi_ens.losses import ensemble_crps
from fuxi_ens.losses.objective import Weights, channel_means
from fuxi_ens.model import FuxiEns
from fuxi_ens.model.block import seeded_dropout
from fuxi_ens.model.latent import draw
from fuxi_ens.model.noise import Noise

_MEMBERS = 8


@torch.no_grad()
def validate(model: FuxiEns, batches: Iterable[Batch], noise: Noise, weights: Weights) -> dict[str, float]:
    """Roll out over the batches' targets; mean over channels and init times of CRPS, RMSE and spread per step.

    Batches of equal size; one after another, so that memory is that of one batch times the members.
    """
    model.eval()
    sums: list[Tensor] = [_squares(model, batch, noise, weights) for batch in batches]
    scores: dict[str, float] = {}
    for k, (crps, mse, variance) in enumerate(torch.stack(sums).mean(0).tolist()):
        scores[f"crps_step{k + 1}"] = crps
        scores[f"rmse_step{k + 1}"] = mse**0.5
        scores[f"spread_skill_ratio_step{k + 1}"] = ((1 + 1 / _MEMBERS) * variance / mse) ** 0.5
    return scores


def _squares(model: FuxiEns, batch: Batch, noise: Noise, weights: Weights) -> Tensor:
    """CRPS, squared error of the mean and variance per step, means over channels, [K, 3]."""
    dropout = seeded_dropout(model.config.dropout, noise)
    frames = batch.frames_BTCHW.repeat_interleave(_MEMBERS, dim=0)
    rows = []
    for k in range(batch.target_BKCHW.shape[1]):
        clock = batch.clock_BK3[:, k].repeat_interleave(_MEMBERS, dim=0)
        eps, xi = draw(noise, frames.shape, model.config.patterns)
        frames = model.step(frames, clock, eps, dropout, xi)
        ens_BMCHW = model.standardize(frames[:, -1]).unflatten(0, (-1, _MEMBERS))
        truth = model.standardize(batch.target_BKCHW[:, k])
        points = (ensemble_crps(ens_BMCHW, truth, "fair"), (ens_BMCHW.mean(1) - truth).square(), ens_BMCHW.var(1))
        valid = torch.isfinite(truth)
        rows.append(torch.stack([channel_means(score, valid, weights.area_H).mean() for score in points]))
    return torch.stack(rows)
