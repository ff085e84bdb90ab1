"""Skill on the validation period during training: members from the prior, as in a forecast.

Scores are in standardized units and steer training; the published scores come from `fuxi_ens.verify`.
"""

import torch

from fuxi_ens.data.loader import Batch
from fuxi_ens.losses import ensemble_crps
from fuxi_ens.losses.objective import Weights, channel_means
from fuxi_ens.model import FuxiEns
from fuxi_ens.model.block import seeded_dropout
from fuxi_ens.model.noise import Noise

_MEMBERS = 8


@torch.no_grad()
def validate(model: FuxiEns, batch: Batch, noise: Noise, weights: Weights) -> dict[str, float]:
    """Roll out over the batch's targets; mean over channels and init times of CRPS, RMSE and spread per step."""
    model.eval()
    dropout = seeded_dropout(model.config.dropout, noise)
    frames = batch.frames_BTCHW.repeat_interleave(_MEMBERS, dim=0)
    scores: dict[str, float] = {}
    for k in range(batch.target_BKCHW.shape[1]):
        clock = batch.clock_BK3[:, k].repeat_interleave(_MEMBERS, dim=0)
        frames = model.step(frames, clock, noise.normal(frames.shape), dropout)
        ens_BMCHW = model.standardize(frames[:, -1]).unflatten(0, (-1, _MEMBERS))
        truth = model.standardize(batch.target_BKCHW[:, k])
        valid = torch.isfinite(truth)
        crps = channel_means(ensemble_crps(ens_BMCHW, truth, "fair"), valid, weights.area_H)
        mse = channel_means((ens_BMCHW.mean(1) - truth).square(), valid, weights.area_H)
        variance = channel_means(ens_BMCHW.var(1), valid, weights.area_H)
        scores[f"crps_step{k + 1}"] = crps.mean().item()
        scores[f"rmse_step{k + 1}"] = mse.mean().sqrt().item()
        scores[f"spread_skill_ratio_step{k + 1}"] = ((1 + 1 / _MEMBERS) * variance.mean() / mse.mean()).sqrt().item()
    return scores
