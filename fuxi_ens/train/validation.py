"""Skill on the validation period during training: members from the prior, as in a forecast.

These scores steer training; the published ones come from `fuxi_ens.verify`.

Shape legend: B init times, M members, T = 2 history frames, K model steps, C channels, H latitude, W longitude;
N what is scored: the mean over all channels in standardized units, then the headline names in model units.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fuxi_ens import channels as vocabulary
from fuxi_ens.config import StageConfig
from fuxi_ens.data.loader import Batch
from fuxi_ens.losses import ensemble_crps
from fuxi_ens.losses.objective import Weights, channel_means
from fuxi_ens.model import FuxiEns
from fuxi_ens.model.block import seeded_dropout
from fuxi_ens.model.latent import draw
from fuxi_ens.model.noise import Noise
from fuxi_ens.train.divergence import divergence, latent_mask
from fuxi_ens.train.module import Serving
from fuxi_ens.train.picture import ValidationPicture

STANDARDIZED = "standardized"
"""Name of the mean over all channels among the scored names."""
_CRPS, _SQUARED_ERROR, _VARIANCE = range(3)


@dataclass(frozen=True)
class Validation:
    """How forecasts of the validation period are made and scored in one training stage."""

    model: FuxiEns
    stage: StageConfig
    weights: Weights
    members: int
    step_size: np.timedelta64
    serving: Serving | None = None
    """The network that makes a given step; `model` makes all without it."""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Headline names that the channels of the model give."""
        have = set(self.model.config.channels)
        return tuple(name for name in vocabulary.HEADLINE if have.issuperset(vocabulary.components(name)))

    @torch.no_grad()
    def sums(self, batch: Batch, noise: Noise) -> tuple[Tensor, ValidationPicture]:
        """What `scores` takes, added up over the samples of a batch, and a picture of the first one at the last step.

        The sums are float64 and add up over batches and ranks. All members of the batch are in memory at once; `noise`
        has one stream for each, those of a sample after one another.
        """
        self.model.eval()
        table, ens_BMCHW = [], batch.frames_BTCHW
        for k, ens_BMCHW in enumerate(self._rollout(batch, noise)):
            table.append(self._point_sums(ens_BMCHW, batch.target_BKCHW[:, k]))
        size = len(batch.init_time)
        counted = torch.stack([torch.tensor(float(size), device=table[0].device), size * self._kl(batch)])
        sums = torch.cat([counted.double(), torch.stack(table).flatten()])
        return sums, self._picture(batch, ens_BMCHW)

    def scores(self, total: Tensor) -> dict[str, Any]:
        """Scores by kind, name and lead time from the sum of all `sums`, as `{"crps": {"z500": {"6h": 31.0}}}`.

        `crps` is fair, `rmse` that of the ensemble mean, `spread_skill_ratio` 1 for a reliable ensemble of any size
        (verification.md 7), `kl` that of the objective for one step from the analysis. By `score`, the mean over steps
        of the standardized CRPS, the states of a stage are compared.
        """
        count, kl = total[:2].tolist()
        table_K3N = total[2:].view(-1, 3, 1 + len(self.names)) / count
        mse_KN = table_K3N[:, _SQUARED_ERROR]
        ratio_KN = (1.0 + 1.0 / self.members) * table_K3N[:, _VARIANCE] / mse_KN
        crps = self._labeled(table_K3N[:, _CRPS])
        return {
            "score": fmean(crps[STANDARDIZED].values()),
            "kl": kl / count,
            "crps": crps,
            "rmse": self._labeled(mse_KN.sqrt()),
            "spread_skill_ratio": self._labeled(ratio_KN.sqrt()),
        }

    def _labeled(self, values_KN: Tensor) -> dict[str, dict[str, float]]:
        hours = self.step_size // np.timedelta64(1, "h")
        leads = [f"{hours * (k + 1)}h" for k in range(len(values_KN))]
        names = (STANDARDIZED, *self.names)
        return {name: dict(zip(leads, row, strict=True)) for name, row in zip(names, values_KN.T.tolist(), strict=True)}

    def _at(self, k: int) -> FuxiEns:
        return self.serving(k) if self.serving else self.model

    def _rollout(self, batch: Batch, noise: Noise) -> Iterator[Tensor]:
        """The ensemble [B, M, C, H, W] of one step after another, model units."""
        config = self.model.config
        dropout = seeded_dropout(config.dropout, noise)
        frames = batch.frames_BTCHW.repeat_interleave(self.members, dim=0)
        for k in range(batch.target_BKCHW.shape[1]):
            clock = batch.clock_BK3[:, k].repeat_interleave(self.members, dim=0)
            eps, xi = draw(noise, frames.shape, config.patterns)
            frames = self._at(k).step(frames, clock, eps, dropout, xi)
            yield frames[:, -1].unflatten(0, (-1, self.members))

    def _point_sums(self, ens_BMCHW: Tensor, truth_BCHW: Tensor) -> Tensor:
        """CRPS, squared error of the mean and variance, area means added up over samples, float64 [3, N]."""
        standard = self._area_means(self.model.standardize(ens_BMCHW), self.model.standardize(truth_BCHW))
        overall = standard.mean(1, keepdim=True)
        if not self.names:
            return overall
        fields = [self._fields(x) for x in (ens_BMCHW, truth_BCHW)]
        return torch.cat([overall, self._area_means(*fields)], dim=1)

    def _area_means(self, ens_BMCHW: Tensor, truth_BCHW: Tensor) -> Tensor:
        """Of errors, not of values: a field of 5e4 with a spread of 15 would lose digits in float32."""
        error_BMCHW = ens_BMCHW - truth_BCHW[:, None]
        points = (
            ensemble_crps(error_BMCHW, torch.zeros_like(truth_BCHW), "fair"),
            error_BMCHW.mean(1).square(),
            error_BMCHW.var(1),
        )
        valid, area = torch.isfinite(truth_BCHW), self.weights.area_H
        by_sample = [
            torch.stack([channel_means(score[b, None], valid[b, None], area) for score in points])
            for b in range(len(truth_BCHW))
        ]
        return torch.stack(by_sample).double().sum(0)

    def _fields(self, frames: Tensor) -> Tensor:
        """The headline fields of frames [..., C, H, W], [..., N - 1, H, W]."""
        return torch.stack([self._field(frames, name) for name in self.names], dim=-3)

    def _field(self, frames: Tensor, name: str) -> Tensor:
        """A channel [..., H, W] of frames, or a wind speed from its two components."""
        where = [self.model.config.channels.index(part) for part in vocabulary.components(name)]
        if len(where) == 1:
            return frames[..., where[0], :, :]
        speed: Tensor = torch.linalg.vector_norm(frames[..., where, :, :], dim=-3)
        return speed

    def _kl(self, batch: Batch) -> Tensor:
        """Mean over elements in nats, at the first step that `model` makes; history and truth are analyses."""
        model = self.model
        k = next(k for k in range(batch.target_BKCHW.shape[1]) if self._at(k) is model)
        frames = torch.cat([batch.frames_BTCHW, batch.target_BKCHW], dim=1)[:, k : k + 3]
        truth_BCHW, clock_B3 = frames[:, -1], batch.clock_BK3[:, k]
        seen = model.network_input(model.standardize(frames))
        q, p = model.posterior(seen[:, 1:], clock_B3), model.prior(seen[:, :2], clock_B3)
        return divergence(q, p, latent_mask(model, truth_BCHW), self.stage).mean

    def _picture(self, batch: Batch, ens_BMCHW: Tensor) -> ValidationPicture:
        name = (*self.names, self.model.config.channels[0])[0]
        to_file = 1.0 / vocabulary.channel(vocabulary.components(name)[0]).variable.to_model
        members, truth = (self._field(x[0], name) * to_file for x in (ens_BMCHW, batch.target_BKCHW[:, -1]))
        return ValidationPicture(
            name=name,
            init_time=batch.init_time[0],
            lead_time=batch.target_BKCHW.shape[1] * self.step_size,
            latitude=self.model.config.grid.latitude,
            longitude=self.model.config.grid.longitude,
            members_MHW=members.cpu().numpy(),
            truth_HW=truth.cpu().numpy(),
        )
