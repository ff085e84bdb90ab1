"""Named networks: the values that a run file's `model: {preset: NAME}` stands for, and what their cost is told at."""

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from fuxi_ens.channels import CHANNELS_78

_NOT_IN_WEATHERBENCH: Final = ("d2m", "u100m", "v100m", "ssr", "ssrd", "fdir", "ttr")
"""Channels that the coarse ERA5 stores of WeatherBench 2 lack."""
_CHANNELS_71: Final = tuple(name for name in CHANNELS_78 if name not in _NOT_IN_WEATHERBENCH)

_RELEASE: Final = {
    # Sizes are the defaults of `ModelConfig`. These are the settings that no tensor's shape tells (model.md 2.9).
    "dropout": 0.2,
    "forecast_dropout": True,
    "output": "state",
    "polar_row": "release",
    "missing_points": "prediction",
    "norm_variance": "sample",
    "logvar_bounds": None,
}
_1P5DEG: Final = {
    "channels": _CHANNELS_71,
    "height": 121,
    "width": 240,
    "patch": 2,
    "embedding": 768,
    "heads": 12,
    "window": 10,
    "mlp_hidden": 2048,
    "perturbation_layers": 2,
    "forecast_layers": 6,
    "blocks_per_layer": 3,
    "dropout": 0.0,
    # The paper predicts the full state; increments learn faster from coarse data.
    "output": "increment",
}
_64X32: Final = {
    "channels": _CHANNELS_71,
    "height": 32,
    "width": 64,
    "patch": 2,
    "embedding": 384,
    "heads": 6,
    "window": 8,
    "mlp_hidden": 1024,
    "perturbation_layers": 1,
    "forecast_layers": 3,
    "blocks_per_layer": 4,
    "dropout": 0.0,
    "output": "increment",
}
_TINY: Final = {
    "channels": (
        *("z500", "z850", "t500", "t850", "u500", "u850", "v500", "v850", "q500", "q850"),
        *("t2m", "sst", "u10m", "v10m", "msl", "tp"),
    ),
    "height": 32,
    "width": 64,
    "patch": 4,
    "embedding": 128,
    "heads": 4,
    "window": 4,
    "mlp_hidden": 256,
    "perturbation_layers": 1,
    "forecast_layers": 3,
    "blocks_per_layer": 2,
    "dropout": 0.0,
    "output": "increment",
}

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        name: MappingProxyType(values)
        for name, values in (("release", _RELEASE), ("1p5deg", _1P5DEG), ("64x32", _64X32), ("tiny", _TINY))
    }
)
"""Keys of `ModelConfig` by preset, from the largest network to the smallest; what is not named has its default."""

TRAINED_BY: Final[Mapping[str, str]] = MappingProxyType(
    {"release": "era5_0p25deg", "1p5deg": "era5_1p5deg", "64x32": "era5_64x32", "tiny": "demo"}
)
"""The run file in configs/ that trains a network of each preset's size."""

ASSUMED_TFLOPS: Final[Mapping[str, float]] = MappingProxyType({"bfloat16": 125.0, "float32": 8.0})
"""10^12 operations per second that a device is assumed to sustain: 40 % of an A100's 312 and 19.5. Nothing measured."""

ENSEMBLE: Final = (50, 60)
"""Members and steps of the forecast whose cost is told: 15 days in steps of 6 h."""


def expanded(values: Any) -> Any:
    """The keys of a model section with `preset` replaced by its values; keys beside it win.

    Raises ValueError for an unknown preset, naming the likely meaning.
    """
    if not isinstance(values, dict) or values.get("preset") is None:
        return values
    name = values["preset"]
    if not isinstance(name, str) or name not in PRESETS:
        close = difflib.get_close_matches(str(name), PRESETS, n=1)
        meaning = f"did you mean {close[0]!r}?" if close else f"known presets: {', '.join(PRESETS)}"
        raise ValueError(f"unknown preset {name!r}; {meaning}")
    return {**PRESETS[name], **{key: value for key, value in values.items() if key != "preset"}}
