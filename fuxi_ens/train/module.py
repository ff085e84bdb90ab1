"""What is differentiated: one batch through the cascade and into the objective of a stage.

One `forward` for the whole objective, so that a data-parallel wrapper around this module sees every use of the weights.

Shape legend: B init times, M members, T = 2 history frames, K model steps, C channels, H latitude, W longitude.
Everything here is in standardized units.
"""

import torch
from torch import Tensor, nn

from fuxi_ens.config import StageConfig
from fuxi_ens.data.loader import Batch
from fuxi_ens.losses import ensemble_crps
from fuxi_ens.losses.objective import ObjectiveTerms, Weights, channel_means, masked_mean, weighted_error
from fuxi_ens.model import FuxiEns
from fuxi_ens.model.block import Dropout, seeded_dropout
from fuxi_ens.model.gaussian import DiagonalGaussian, kl_divergence
from fuxi_ens.model.noise import Noise


class TrainingModule(nn.Module):
    """A model under the objective of one stage."""

    def __init__(self, model: FuxiEns, stage: StageConfig, weights: Weights) -> None:
        super().__init__()
        self.model, self.stage, self.weights = model, stage, weights

    def forward(self, batch: Batch, noise: Noise, kl_weight: float) -> ObjectiveTerms:
        """Roll the batch out and score every step. `noise` feeds perturbations and dropout."""
        history = self.model.standardize(batch.frames_BTCHW)
        target = self.model.standardize(batch.target_BKCHW)
        x_BTCHW = self.model.network_input(history)
        if self.stage.objective == "l1":
            return self._deterministic(x_BTCHW, target, batch.clock_BK3)
        dropout = seeded_dropout(self.model.config.dropout, noise)
        return self._probabilistic(x_BTCHW, target, batch.clock_BK3, noise, dropout, kl_weight)

    def _deterministic(self, x_BTCHW: Tensor, target_BKCHW: Tensor, clock_BK3: Tensor) -> ObjectiveTerms:
        """Mean absolute error of the forecast network without any perturbation."""
        errors = []
        for k in range(self.stage.rollout_steps):
            y = self.model.predict(x_BTCHW, torch.zeros_like(x_BTCHW), clock_BK3[:, k])
            truth = target_BKCHW[:, k]
            errors.append(channel_means((y - truth).abs(), torch.isfinite(truth), self.weights.area_H))
            x_BTCHW = self._next_history(x_BTCHW, y, truth)
        error_C = torch.stack(errors).mean(0)
        error = weighted_error(error_C, self.weights)
        return ObjectiveTerms(error, error, torch.zeros_like(error), error_C)

    def _probabilistic(
        self,
        x_BTCHW: Tensor,
        target_BKCHW: Tensor,
        clock_BK3: Tensor,
        noise: Noise,
        dropout: Dropout,
        kl_weight: float,
    ) -> ObjectiveTerms:
        """CRPS of the members plus KL(Q || P) of the first step.

        Without dropout the members of a sample share P and Q; with it each member has its own mask, as in a forecast.
        """
        copies = self.stage.members if self.model.config.dropout else 1
        x, clock = _repeat(x_BTCHW, copies), _repeat(clock_BK3, copies)
        truth = _repeat(target_BKCHW[:, 0], copies)
        window = torch.stack([x[:, -1], self.model.network_input(truth)], dim=1)
        q = self.model.posterior(window, clock[:, 0], dropout)
        p = self.model.prior(x, clock[:, 0], dropout)
        kl = masked_mean(kl_divergence(q, p), self._latent_mask(truth))
        sources = {"posterior": [q], "prior": [p], "both": [q, p]}[self.stage.sampled]
        members = self.stage.members // copies
        firsts = [DiagonalGaussian(_repeat(s.mean, members), _repeat(s.logvar, members)) for s in sources]
        errors = [self._rollout_crps(x_BTCHW, target_BKCHW, clock_BK3, s, noise, dropout) for s in firsts]
        error_C = torch.stack(errors).mean(0)
        error = weighted_error(error_C, self.weights)
        return ObjectiveTerms(error + kl_weight * kl, error, kl, error_C)

    def _rollout_crps(
        self,
        x_BTCHW: Tensor,
        target_BKCHW: Tensor,
        clock_BK3: Tensor,
        first: DiagonalGaussian,
        noise: Noise,
        dropout: Dropout,
    ) -> Tensor:
        """CRPS per channel [C], mean over the steps; `first` gives each member's first perturbation, P the later."""
        members = self.stage.members
        x, source = _repeat(x_BTCHW, members), first
        errors = []
        for k in range(self.stage.rollout_steps):
            clock = _repeat(clock_BK3[:, k], members)
            if k > 0:
                source = self.model.prior(x, clock, dropout)
            y = self.model.predict(x, source.sample(noise.normal(x.shape)), clock)
            errors.append(self._crps(y.unflatten(0, (-1, members)), target_BKCHW[:, k]))
            x = self._next_history(x, y, _repeat(target_BKCHW[:, k], members))
        return torch.stack(errors).mean(0)

    def _crps(self, ens_BMCHW: Tensor, truth_BCHW: Tensor) -> Tensor:
        score = ensemble_crps(ens_BMCHW, truth_BCHW, self.stage.estimator, self.stage.alpha)
        return channel_means(score, torch.isfinite(truth_BCHW), self.weights.area_H)

    def _next_history(self, x_BTCHW: Tensor, y_BCHW: Tensor, truth_BCHW: Tensor) -> Tensor:
        """Feedback as in a forecast: points without truth stay at the channel's mean."""
        missing = torch.isnan(truth_BCHW)
        newest = self.model.network_input(torch.where(missing, 0.0, y_BCHW))
        return torch.stack([x_BTCHW[:, -1], newest], dim=1)

    def _latent_mask(self, truth_BCHW: Tensor) -> Tensor:
        """Elements of the latent that can reach the output: not the accumulations, not the points without truth."""
        return (torch.isfinite(truth_BCHW) * self.model.input_mask)[:, None]


def _repeat(x: Tensor, members: int) -> Tensor:
    """[B, ...] to [B * members, ...], each entry repeated in place."""
    return x.repeat_interleave(members, dim=0) if members > 1 else x
