"""The cascade: perturbation network, then forecast network, once per 6-hour step (model.md 2).

Attribute names follow the keys of the released checkpoint: `dist_p` is the prior P, `dist_q` the posterior Q (training
only), `decoder[0]` the forecast network. Everything between `standardize` and `to_physical` is in standardized units.

Shape legend: B batch (init times or members), T = 2 history frames, C channels, H latitude, W longitude;
clock_B3 holds model step, hour of day and day of year of the newest history frame (`times.clock`).
"""

from typing import cast

import torch
from torch import Tensor, nn

from fuxi_ens import channels as vocabulary
from fuxi_ens.config import ModelConfig
from fuxi_ens.model.attention import Windows
from fuxi_ens.model.block import Dropout, Layer, ScaleShift, no_dropout
from fuxi_ens.model.embed import STATIC_FIELDS, PatchEmbed, PatchHead, ScalarEmbed
from fuxi_ens.model.gaussian import DiagonalGaussian
from fuxi_ens.model.latent import Latent, PatternHead
from fuxi_ens.model.low_rank import LowRankGaussian
from fuxi_ens.model.normalizer import fill_missing, to_physical, to_standard
from fuxi_ens.times import HISTORY


class Backbone(nn.Module):
    """Embedding, clock and trunk shared in shape by both networks; the weights are their own."""

    def __init__(self, config: ModelConfig, layers: int) -> None:
        super().__init__()
        width = config.embedding
        self.patch_embed = PatchEmbed(config)
        self.step_embed, self.hour_embed, self.doy_embed = ScalarEmbed(width), ScalarEmbed(width), ScalarEmbed(width)
        self.windows = Windows(config)
        self.layers = nn.ModuleList(Layer(config) for _ in range(layers))
        self.norm_layer = ScaleShift(config)

    def tokens(self, x_BTCHW: Tensor, const_CHW: Tensor, clock_B3: Tensor, dropout: Dropout) -> Tensor:
        """Trunk output [B, h, w, D]: all layers, dropout before each, plus the undropped embedding (model.md 2.4)."""
        step_B, hour_B, doy_B = clock_B3.unbind(-1)
        cond_BD = self.step_embed(step_B) + self.hour_embed(hour_B) + self.doy_embed(doy_B)
        token_BhwD = self.patch_embed(x_BTCHW.flatten(1, 2), const_CHW)
        x_BhwD, tables = token_BhwD, self.windows(len(token_BhwD))
        for layer in self.layers:
            x_BhwD = layer(dropout(x_BhwD), cond_BD, tables)
        out: Tensor = self.norm_layer(x_BhwD, cond_BD) + token_BhwD
        return out


class PerturbationNet(Backbone):
    """Distribution of the perturbation of both history frames: the prior P, or the posterior Q."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, config.perturbation_layers)
        latent = HISTORY * len(config.channels)
        self.mean = PatchHead(config.embedding, latent, config.patch)
        self.logvar = PatchHead(config.embedding, latent, config.patch)
        nn.init.constant_(cast("Tensor", self.logvar.bias), config.initial_logvar)
        self.bounds = config.logvar_bounds
        self.patterns = PatternHead(config) if config.patterns else None

    def forward(self, x_BTCHW: Tensor, const_CHW: Tensor, clock_B3: Tensor, dropout: Dropout) -> Latent:
        """Standardized frames to a Gaussian over [B, T, C, H, W]."""
        token_BhwD = self.tokens(x_BTCHW, const_CHW, clock_B3, dropout)
        height = x_BTCHW.shape[-2]
        shape = x_BTCHW.shape
        mean = self.mean.field(token_BhwD, height).view(shape)
        logvar = self.logvar.field(token_BhwD, height).view(shape)
        diagonal = DiagonalGaussian.clamped(mean, logvar, self.bounds)
        if self.patterns is None:
            return diagonal
        return LowRankGaussian(diagonal.mean, diagonal.logvar, *self.patterns(token_BhwD))


class PredictionHeads(nn.Module):
    """Separate heads for upper air and surface."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        upper = vocabulary.upper_air_count(config.channels)
        self.pl_head = PatchHead(config.embedding, upper, config.patch)
        self.sf_head = PatchHead(config.embedding, len(config.channels) - upper, config.patch)

    def forward(self, token_BhwD: Tensor, height: int) -> Tensor:
        """[B, h, w, D] to [B, C, H, W] in channel order."""
        return torch.cat([self.pl_head.field(token_BhwD, height), self.sf_head.field(token_BhwD, height)], dim=1)


class ForecastNet(Backbone):
    """Perturbed frames to the network's output for the next frame."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, config.forecast_layers)
        self.pred_layer = PredictionHeads(config)

    def forward(self, z_BTCHW: Tensor, const_CHW: Tensor, clock_B3: Tensor) -> Tensor:
        """[B, T, C, H, W] to [B, C, H, W]."""
        token_BhwD = self.tokens(z_BTCHW, const_CHW, clock_B3, no_dropout)
        out: Tensor = self.pred_layer(token_BhwD, z_BTCHW.shape[-2])
        return out.float()


class FuxiEns(nn.Module):
    """Prior, posterior and forecast network with the statistics and static fields they need."""

    mean: Tensor
    std: Tensor
    increment_std: Tensor
    const: Tensor
    log1p: Tensor
    input_mask: Tensor

    def __init__(self, config: ModelConfig, *, posterior: bool = True) -> None:
        super().__init__()
        self.config = config
        count = len(config.channels)
        variables = [vocabulary.channel(name).variable for name in config.channels]
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("std", torch.ones(count))
        self.register_buffer("increment_std", torch.ones(count))
        self.register_buffer("const", torch.zeros(STATIC_FIELDS, config.height, config.width))
        self.register_buffer("log1p", torch.tensor([v.transform == "log1p" for v in variables]), persistent=False)
        self.register_buffer(
            "input_mask", torch.tensor([float(v.input) for v in variables])[:, None, None], persistent=False
        )
        self.dist_p = PerturbationNet(config)
        self.dist_q = PerturbationNet(config) if posterior else None
        self.decoder = nn.ModuleList([ForecastNet(config)])

    def standardize(self, frames: Tensor) -> Tensor:
        """Model units to standardized units, [..., C, H, W]; NaN stays NaN."""
        return to_standard(frames, self.mean, self.std, self.log1p)

    def to_physical(self, standard: Tensor) -> Tensor:
        """Standardized units to model units, [..., C, H, W]."""
        return to_physical(standard, self.mean, self.std, self.log1p)

    def network_input(self, x: Tensor) -> Tensor:
        """Missing values to 0, accumulations to 0 (model.md 1.2)."""
        return fill_missing(x) * self.input_mask

    def prior(self, x_BTCHW: Tensor, clock_B3: Tensor, dropout: Dropout = no_dropout) -> Latent:
        """P from the two history frames, standardized, no NaN."""
        out: Latent = self.dist_p(x_BTCHW, self.const, clock_B3, dropout)
        return out

    def posterior(self, x_BTCHW: Tensor, clock_B3: Tensor, dropout: Dropout = no_dropout) -> Latent:
        """Q from the newest history frame and the true next frame; `clock_B3` is that of the newest history frame."""
        assert self.dist_q is not None, "built for forecasts, without posterior"
        out: Latent = self.dist_q(x_BTCHW, self.const, clock_B3, dropout)
        return out

    def predict(self, x_BTCHW: Tensor, s_BTCHW: Tensor, clock_B3: Tensor) -> Tensor:
        """Next frame [B, C, H, W], standardized, from history `x` and its perturbation `s`."""
        raw = self.decoder[0]((x_BTCHW + s_BTCHW) * self.input_mask, self.const, clock_B3)
        if self.config.output == "increment":
            raw = x_BTCHW[:, -1] + self.increment_std[:, None, None] * raw
        return self._fill_polar_rows(raw)

    def step(
        self, frames_BTCHW: Tensor, clock_B3: Tensor, eps: Tensor, dropout: Dropout, xi: Tensor | None = None
    ) -> Tensor:
        """One 6-hour step of a forecast: history in model units to the next history, [B, T, C, H, W].

        Frame 0 of the result is frame 1 of the input, bit for bit. An input channel that is missing (NaN) at a point of
        the newest frame stays missing there, so that the network always sees the channel's mean (model.md 8, row 20),
        unless `missing_points` says otherwise. `dropout` is used if `forecast_dropout` says so. `eps` and `xi` are what
        `latent.draw` gives.
        """
        newest = frames_BTCHW[:, -1]
        x = self.network_input(self.standardize(frames_BTCHW))
        kept = dropout if self.config.forecast_dropout else no_dropout
        perturbation = self.prior(x, clock_B3, kept).sample(eps, xi)
        frame = self.to_physical(self.predict(x, perturbation, clock_B3))
        if self.config.missing_points == "missing":
            frame = torch.where(torch.isnan(newest) & (self.input_mask > 0), newest, frame)
        return torch.stack([newest, frame], dim=1)

    def _fill_polar_rows(self, y_BCHW: Tensor) -> Tensor:
        covered = self.config.token_grid[0] * self.config.patch
        if covered == self.config.height or self.config.polar_row == "release":
            return y_BCHW
        pole = y_BCHW[:, :, covered - 1 : covered].mean(-1, keepdim=True)
        extra = pole.expand(-1, -1, self.config.height - covered, self.config.width)
        return torch.cat([y_BCHW[:, :, :covered], extra], dim=2)


def build_model(config: ModelConfig, device: str | torch.device = "cpu", *, posterior: bool = True) -> FuxiEns:
    """Construct the network on `device`; "meta" takes no memory and serves to count.

    Without `posterior` it can forecast but not be trained: Q is needed in training only.
    """
    with torch.device(device):
        return FuxiEns(config, posterior=posterior)
