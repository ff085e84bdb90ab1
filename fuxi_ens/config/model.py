"""The section `model`: shape of the networks."""

from typing import Any, Literal, Self

from pydantic import (
    Field,
    PositiveInt,
    model_validator,
)

from fuxi_ens import channels as vocabulary
from fuxi_ens.config.base import Section
from fuxi_ens.config.fields import (
    Channels,
    Probability,
)
from fuxi_ens.config.presets import expanded
from fuxi_ens.grid import LatLonGrid


class ModelConfig(Section):
    """Shape of the network; the defaults are the released FuXi-ENS (model.md 2)."""

    preset: str | None = Field(default=None, exclude=True, repr=False)
    """Name of a network in `config/presets.py`; keys beside it win. Its values take its place when a file is read: a
    section with a preset equals the one that is written out."""
    channels: Channels = vocabulary.CHANNELS_78
    """In tensor order; the word fuxi_ens_78 stands for all 78."""
    height: PositiveInt = 721
    width: PositiveInt = 1440
    patch: PositiveInt = 8
    embedding: PositiveInt = 1536
    """Width D of a token."""
    heads: PositiveInt = 24
    window: PositiveInt = 18
    """Side of an attention window in tokens; must divide the token grid."""
    mlp_hidden: PositiveInt = 4096
    perturbation_layers: PositiveInt = 2
    forecast_layers: PositiveInt = 6
    blocks_per_layer: PositiveInt = 7
    dropout: Probability = 0.2
    """Dropout probability in the perturbation networks."""
    forecast_dropout: bool = True
    """Whether dropout stays on in validation and forecasts, as in the release; no effect where `dropout` is 0."""
    output: Literal["state", "increment"] = "state"
    """`state`: the network gives the next frame (release). `increment`: it gives the change from the unperturbed
    newest frame in units of the 6 h standard deviation; learns faster from little data."""
    polar_row: Literal["release", "zonal_mean"] = "zonal_mean"
    """Rows beyond the last whole patch: `release` leaves the head bias there, `zonal_mean` copies the row above."""
    missing_points: Literal["missing", "prediction"] = "missing"
    """What is fed back where an input channel is missing, that is sea temperature over land: `missing` keeps it so,
    `prediction` takes what the network writes there, which no truth has ever judged (release)."""
    norm_variance: Literal["population", "sample"] = "population"
    """Variance of the layer norms: sum of squares over n, or over n - 1 (release)."""
    initial_logvar: float = -4.0
    """Log-variance both perturbation networks start from."""
    logvar_bounds: tuple[float, float] | None = (-10.0, 10.0)
    """Where the log-variance is held; null leaves it free (release), which training in bfloat16 does not survive."""
    latent: Literal["diagonal", "low_rank"] = "diagonal"
    """Covariance of the perturbation: independent noise per point and channel (release), or that plus `latent_rank`
    smooth patterns over all channels whose amplitudes a member shares over the globe, as in FuXi-S2S."""
    latent_rank: PositiveInt = 12
    """Patterns of a `low_rank` latent; FuXi-S2S has 12."""

    @model_validator(mode="before")
    @classmethod
    def _expand_preset(cls, values: Any) -> Any:
        return expanded(values)

    @property
    def grid(self) -> LatLonGrid:
        """The grid of the frames."""
        return LatLonGrid(self.height, self.width)

    @property
    def token_grid(self) -> tuple[int, int]:
        """Tokens in latitude and longitude; rows that fill no whole patch are dropped (model.md 2.2)."""
        return self.height // self.patch, self.width // self.patch

    @property
    def patterns(self) -> int:
        """Patterns of the latent's covariance, 0 for a diagonal one."""
        return self.latent_rank if self.latent == "low_rank" else 0

    @property
    def block_shift(self) -> int:
        """Tokens by which every second block rolls its grid, both ways."""
        return self.window // 2

    @model_validator(mode="after")
    def _geometry(self) -> Self:
        rows, columns = self.token_grid
        if self.width % self.patch or rows % self.window or columns % self.window:
            raise ValueError(
                f"grid {self.height}x{self.width} in patches of {self.patch} gives {rows}x{columns} tokens, which "
                f"windows of {self.window} do not tile; choose a window that divides {rows} and {columns}"
            )
        if self.embedding % self.heads or (self.embedding // self.heads) % 2:
            raise ValueError(
                f"embedding {self.embedding} over {self.heads} heads must give an even head size for rotary positions"
            )
        if self.patterns >= 2 * len(self.channels):
            raise ValueError(
                f"latent_rank {self.latent_rank} must be smaller than the number of latent channels, 2 frames of "
                f"{len(self.channels)}"
            )
        if self.logvar_bounds and not self.logvar_bounds[0] < self.initial_logvar < self.logvar_bounds[1]:
            raise ValueError(f"initial_logvar {self.initial_logvar} must lie inside logvar_bounds {self.logvar_bounds}")
        return self
