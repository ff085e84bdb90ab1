"""What is differentiated: one batch through the cascade and into the objective of a stage.

One `forward` for the whole objective, so that a data-parallel wrapper around this module sees every use of the weights.

Shape legend: B init times, M members, T = 2 history frames, K model steps, C channels, H latitude, W longitude.
Everything here is in standardized units.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fuxi_ens.config import StageConfig, TrainConfig
from fuxi_ens.data.loader import Batch
from fuxi_ens.losses import ensemble_crps
from fuxi_ens.losses.objective import ObjectiveTerms, Weights, channel_means, weighted_error
from fuxi_ens.model import FuxiEns
from fuxi_ens.model.block import Dropout, seeded_dropout
from fuxi_ens.model.latent import Latent, draw
from fuxi_ens.model.noise import Noise
from fuxi_ens.model.passes import trains_posterior
from fuxi_ens.train.divergence import divergence, latent_mask
from fuxi_ens.train.members import gathered
from fuxi_ens.train.monitors import ensemble_moments, latent_monitors, spread_skill_ratio
from fuxi_ens.train.ranks import Ranks

Serving = Callable[[int], FuxiEns]
"""The network that makes a given step of a rollout: another one before the lead times that are trained."""


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
    """A model under the objective of one stage.

    A rollout of K steps is scored over its last `gradient_steps`; the steps before lead there without gradient, each
    member on its own way, made by the networks that `lead_in` names.
    """

    def __init__(
        self,
        model: FuxiEns,
        stage: StageConfig,
        weights: Weights,
        ranks: Ranks,
        train: TrainConfig,
        lead_in: Serving | None = None,
    ) -> None:
        super().__init__()
        self.model, self.stage, self.weights = model, stage, weights
        self.members = stage.members // ranks.place.ranks_per_sample
        self._ranks, self._gradients = ranks, train.gather_gradients
        self._lead_in = lead_in or (lambda _: model)

    def forward(self, batch: Batch, noise: Noise, kl_weight: float, *, watch: bool = False) -> ObjectiveTerms:
        """Roll the batch out and score it. `noise` feeds perturbations and dropout of this rank's members.

        With `watch` the terms come with monitors, which change nothing else.
        """
        history = self.model.standardize(batch.frames_BTCHW)
        target = self.model.standardize(batch.target_BKCHW)
        sample = _Sample(self.model.network_input(history), target, batch.clock_BK3)
        if self.stage.objective == "l1":
            return self._deterministic(sample)
        return self._probabilistic(sample, noise, kl_weight, watch=watch)

    def _scored(self, sample: _Sample) -> range:
        """Steps of a rollout that are scored."""
        steps = sample.target_BKCHW.shape[1]
        return range(steps - (self.stage.gradient_steps or steps), steps)

    def _deterministic(self, sample: _Sample) -> ObjectiveTerms:
        """Mean absolute error of the forecast network without any perturbation."""
        x_BTCHW, target_BKCHW, clock_BK3 = sample
        scored, errors = self._scored(sample), []
        for k in range(scored.stop):
            leading = k < scored.start
            network = self._lead_in(k) if leading else self.model
            truth = target_BKCHW[:, k]
            with torch.no_grad() if leading else nullcontext():
                y = network.predict(x_BTCHW, torch.zeros_like(x_BTCHW), clock_BK3[:, k])
            if not leading:
                errors.append(channel_means((y - truth).abs(), torch.isfinite(truth), self.weights.area_H))
            x_BTCHW = self._next_history(x_BTCHW, y, truth)
        error_C = torch.stack(errors).mean(0)
        error = weighted_error(error_C, self.weights)
        nothing = torch.zeros_like(error)
        return ObjectiveTerms(error, error, nothing, nothing, 0.0, error_C)

    def _probabilistic(self, sample: _Sample, noise: Noise, kl_weight: float, *, watch: bool) -> ObjectiveTerms:
        """CRPS of the members plus the KL of the first scored step.

        Members that have neither dropout nor a lead-in of their own share P and Q.
        """
        dropout = seeded_dropout(self.model.config.dropout, noise)
        scored = self._scored(sample)
        copies = self.members if self.model.config.dropout or scored.start else 1
        x = self._led_in(_repeat(sample.x_BTCHW, copies), sample, noise, dropout)
        q, p, mask = self._first_distributions(x, sample, scored.start, dropout)
        kl, penalty = divergence(q, p, mask, self.stage)
        chosen = {"posterior": {"posterior": q}, "prior": {"prior": p}, "both": {"posterior": q, "prior": p}}
        each = self.members // copies
        start = _repeat(x, each)
        rollouts = {
            name: self._rollout(start, sample, first.repeat(each), noise, dropout, watch=watch)
            for name, first in chosen[self.stage.sampled].items()
        }
        error_C = torch.stack([rollout.error_C for rollout in rollouts.values()]).mean(0)
        error = weighted_error(error_C, self.weights)
        terms = ObjectiveTerms(error + kl_weight * penalty, error, kl, penalty, kl_weight, error_C)
        if not watch:
            return terms
        ratios = {
            name: spread_skill_ratio(self._ranks.mean(rollout.moments_2), self.stage.members)
            for name, rollout in rollouts.items()
            if rollout.moments_2 is not None
        }
        monitors = latent_monitors(q, p, mask, self.model.config.channels)
        return replace(terms, monitors={**monitors, "spread_skill_ratio": ratios})

    @torch.no_grad()
    def _led_in(self, x_BTCHW: Tensor, sample: _Sample, noise: Noise, dropout: Dropout) -> Tensor:
        """Histories after the steps that are not scored; perturbations from P, as in a forecast."""
        copies = len(x_BTCHW) // len(sample.x_BTCHW)
        for k in range(self._scored(sample).start):
            network, clock = self._lead_in(k), _repeat(sample.clock_BK3[:, k], copies)
            source = network.prior(x_BTCHW, clock, dropout)
            drawn = draw(noise, x_BTCHW.shape, self.model.config.patterns)
            y = network.predict(x_BTCHW, source.sample(*drawn), clock)
            x_BTCHW = self._next_history(x_BTCHW, y, _repeat(sample.target_BKCHW[:, k], copies))
        return x_BTCHW

    def _first_distributions(
        self, x_BTCHW: Tensor, sample: _Sample, k: int, dropout: Dropout
    ) -> tuple[Latent, Latent, Tensor]:
        """Q and P of step `k` from the histories `x_BTCHW`, and the mask of the elements that count."""
        copies = len(x_BTCHW) // len(sample.x_BTCHW)
        clock, truth = _repeat(sample.clock_BK3[:, k], copies), _repeat(sample.target_BKCHW[:, k], copies)
        window = torch.stack([x_BTCHW[:, -1], self.model.network_input(truth)], dim=1)
        with nullcontext() if trains_posterior(self.stage) else torch.no_grad():
            q = self.model.posterior(window, clock, dropout)
        return q, self.model.prior(x_BTCHW, clock, dropout), latent_mask(self.model, truth)

    def _rollout(
        self, x_BTCHW: Tensor, sample: _Sample, first: Latent, noise: Noise, dropout: Dropout, *, watch: bool
    ) -> _Rollout:
        """CRPS per channel over the scored steps; `first` gives each member's first perturbation, P the later ones."""
        scored, source = self._scored(sample), first
        errors, moments = [], []
        for k in scored:
            clock, truth = _repeat(sample.clock_BK3[:, k], self.members), sample.target_BKCHW[:, k]
            if k > scored.start:
                source = self.model.prior(x_BTCHW, clock, dropout)
            drawn = draw(noise, x_BTCHW.shape, self.model.config.patterns)
            y = self.model.predict(x_BTCHW, source.sample(*drawn), clock)
            ens_BMCHW = gathered(y.unflatten(0, (-1, self.members)), self._ranks.members, self._gradients)
            errors.append(self._crps(ens_BMCHW, truth))
            if watch:
                moments.append(ensemble_moments(ens_BMCHW, truth, self.weights.area_H))
            x_BTCHW = self._next_history(x_BTCHW, y, _repeat(truth, self.members))
        return _Rollout(torch.stack(errors).mean(0), torch.stack(moments).mean(0) if watch else None)

    def _crps(self, ens_BMCHW: Tensor, truth_BCHW: Tensor) -> Tensor:
        score = ensemble_crps(ens_BMCHW, truth_BCHW, self.stage.estimator, self.stage.alpha)
        return channel_means(score, torch.isfinite(truth_BCHW), self.weights.area_H)

    def _next_history(self, x_BTCHW: Tensor, y_BCHW: Tensor, truth_BCHW: Tensor) -> Tensor:
        """Feedback as in a forecast: points without truth stay at the channel's mean, unless the model says not."""
        if self.model.config.missing_points == "missing":
            y_BCHW = torch.where(torch.isnan(truth_BCHW), 0.0, y_BCHW)
        return torch.stack([x_BTCHW[:, -1], self.model.network_input(y_BCHW)], dim=1)


def _repeat(x: Tensor, members: int) -> Tensor:
    """[B, ...] to [B * members, ...], each entry repeated in place."""
    return x.repeat_interleave(members, dim=0) if members > 1 else x
