"""What is differentiated: one batch through the cascade and into the objective of a stage.

One `forward` for the whole objective, so that a data-parallel wrapper around this module sees every use of the weights.

Shape legend: B init times, M members, T = 2 history frames, K model steps, C channels, H latitude, W longitude.
Everything here is in standardized units.
"""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fuxi_ens.config import StageConfig
from fuxi_ens.data.loader import Batch
from fuxi_ens.losses import ensemble_crps
from fuxi_ens.losses.objective import ObjectiveTerms, Weights, channel_means, weighted_error
from fuxi_ens.model import FuxiEns
from fuxi_ens.model.block import Dropout, seeded_dropout
from fuxi_ens.model.latent import Latent, draw
from fuxi_ens.model.noise import Noise
from fuxi_ens.train.divergence import divergence
from fuxi_ens.train.monitors import ensemble_moments, latent_monitors, spread_skill_ratio


class _Sample(NamedTuple):
    """A batch as the networks see it."""

    x_BTCHW: Tensor
    target_BKCHW: Tensor
    clock_BK3: Tensor


class _Rollout(NamedTuple):
    """Means over the steps of a rollout."""

    error_C: Tensor
    moments_2: Tensor | None
    """Variance and squared error of the mean, if they were asked for."""


class TrainingModule(nn.Module):
    """A model under the objective of one stage."""

    def __init__(self, model: FuxiEns, stage: StageConfig, weights: Weights) -> None:
        super().__init__()
        self.model, self.stage, self.weights = model, stage, weights

    def forward(self, batch: Batch, noise: Noise, kl_weight: float, *, watch: bool = False) -> ObjectiveTerms:
        """Roll the batch out and score every step. `noise` feeds perturbations and dropout.

        With `watch` the terms come with monitors, which change nothing else.
        """
        history = self.model.standardize(batch.frames_BTCHW)
        target = self.model.standardize(batch.target_BKCHW)
        sample = _Sample(self.model.network_input(history), target, batch.clock_BK3)
        if self.stage.objective == "l1":
            return self._deterministic(sample)
        return self._probabilistic(sample, noise, kl_weight, watch=watch)

    def _deterministic(self, sample: _Sample) -> ObjectiveTerms:
        """Mean absolute error of the forecast network without any perturbation."""
        x_BTCHW, target_BKCHW, clock_BK3 = sample
        errors = []
        for k in range(self.stage.rollout_steps):
            y = self.model.predict(x_BTCHW, torch.zeros_like(x_BTCHW), clock_BK3[:, k])
            truth = target_BKCHW[:, k]
            errors.append(channel_means((y - truth).abs(), torch.isfinite(truth), self.weights.area_H))
            x_BTCHW = self._next_history(x_BTCHW, y, truth)
        error_C = torch.stack(errors).mean(0)
        error = weighted_error(error_C, self.weights)
        nothing = torch.zeros_like(error)
        return ObjectiveTerms(error, error, nothing, nothing, 0.0, error_C)

    def _probabilistic(self, sample: _Sample, noise: Noise, kl_weight: float, *, watch: bool) -> ObjectiveTerms:
        """CRPS of the members plus the KL of the first step.

        Without dropout the members of a sample share P and Q; with it each member has its own mask, as in a forecast.
        """
        dropout = seeded_dropout(self.model.config.dropout, noise)
        copies = self.stage.members if self.model.config.dropout else 1
        q, p, mask = self._first_distributions(sample, dropout, copies)
        kl, penalty = divergence(q, p, mask, self.stage)
        chosen = {"posterior": {"posterior": q}, "prior": {"prior": p}, "both": {"posterior": q, "prior": p}}
        members = self.stage.members // copies
        rollouts = {
            name: self._rollout(sample, first.repeat(members), noise, dropout, watch=watch)
            for name, first in chosen[self.stage.sampled].items()
        }
        error_C = torch.stack([rollout.error_C for rollout in rollouts.values()]).mean(0)
        error = weighted_error(error_C, self.weights)
        terms = ObjectiveTerms(error + kl_weight * penalty, error, kl, penalty, kl_weight, error_C)
        if not watch:
            return terms
        ratios = {
            name: spread_skill_ratio(rollout.moments_2, self.stage.members)
            for name, rollout in rollouts.items()
            if rollout.moments_2 is not None
        }
        monitors = latent_monitors(q, p, mask, self.model.config.channels)
        return replace(terms, monitors={**monitors, "spread_skill_ratio": ratios})

    def _first_distributions(self, sample: _Sample, dropout: Dropout, copies: int) -> tuple[Latent, Latent, Tensor]:
        """Q and P of the first step and the mask of the elements that count, `copies` of each sample."""
        x, clock = _repeat(sample.x_BTCHW, copies), _repeat(sample.clock_BK3[:, 0], copies)
        truth = _repeat(sample.target_BKCHW[:, 0], copies)
        window = torch.stack([x[:, -1], self.model.network_input(truth)], dim=1)
        q = self.model.posterior(window, clock, dropout)
        return q, self.model.prior(x, clock, dropout), self._latent_mask(truth)

    def _rollout(self, sample: _Sample, first: Latent, noise: Noise, dropout: Dropout, *, watch: bool) -> _Rollout:
        """CRPS per channel; `first` gives each member's first perturbation, P the later ones."""
        members, patterns = self.stage.members, self.model.config.patterns
        x, source = _repeat(sample.x_BTCHW, members), first
        errors, moments = [], []
        for k in range(self.stage.rollout_steps):
            clock, truth = _repeat(sample.clock_BK3[:, k], members), sample.target_BKCHW[:, k]
            if k > 0:
                source = self.model.prior(x, clock, dropout)
            y = self.model.predict(x, source.sample(*draw(noise, x.shape, patterns)), clock)
            ens_BMCHW = y.unflatten(0, (-1, members))
            errors.append(self._crps(ens_BMCHW, truth))
            if watch:
                moments.append(ensemble_moments(ens_BMCHW, truth, self.weights.area_H))
            x = self._next_history(x, y, _repeat(truth, members))
        return _Rollout(torch.stack(errors).mean(0), torch.stack(moments).mean(0) if watch else None)

    def _crps(self, ens_BMCHW: Tensor, truth_BCHW: Tensor) -> Tensor:
        score = ensemble_crps(ens_BMCHW, truth_BCHW, self.stage.estimator, self.stage.alpha)
        return channel_means(score, torch.isfinite(truth_BCHW), self.weights.area_H)

    def _next_history(self, x_BTCHW: Tensor, y_BCHW: Tensor, truth_BCHW: Tensor) -> Tensor:
        """Feedback as in a forecast: points without truth stay at the channel's mean, unless the model says not."""
        if self.model.config.missing_points == "missing":
            y_BCHW = torch.where(torch.isnan(truth_BCHW), 0.0, y_BCHW)
        return torch.stack([x_BTCHW[:, -1], self.model.network_input(y_BCHW)], dim=1)

    def _latent_mask(self, truth_BCHW: Tensor) -> Tensor:
        """Elements of the latent that can reach the output.

        Not the accumulations, not the points without truth, not the rows that fill no whole patch.
        """
        mask_BCHW = torch.isfinite(truth_BCHW) * self.model.input_mask
        config = self.model.config
        mask_BCHW[:, :, config.token_grid[0] * config.patch :] = 0.0
        return mask_BCHW[:, None]


def _repeat(x: Tensor, members: int) -> Tensor:
    """[B, ...] to [B * members, ...], each entry repeated in place."""
    return x.repeat_interleave(members, dim=0) if members > 1 else x
