"""What the shapes of the released tensors say about the network they belong to."""

import math
import re
from collections.abc import Mapping

from fuxi_ens import channels as vocabulary
from fuxi_ens.config import ModelConfig
from fuxi_ens.config.presets import PRESETS
from fuxi_ens.errors import UserError
from fuxi_ens.times import HISTORY

RELEASE = dict(PRESETS["release"])
"""Settings that shapes cannot tell: those with which our network computes what the release computes (model.md 2.9)."""

_BLOCK = re.compile(r"(dist_p|decoder\.0)\.layers\.(\d+)\.blocks\.(\d+)\.")


def model_config(shapes: Mapping[str, tuple[int, ...]], mask: tuple[int, ...] | None) -> ModelConfig:
    """The model section that fits tensors of these `shapes` by key. `mask` is the shape of an attention mask [X, L, L].

    Raises UserError where shapes are not enough: a head size and channels other than the release's are not seen there.
    """
    try:
        width, inputs, patch, _ = shapes["dist_p.patch_embed.input_proj.weight"]
        height_width = shapes["const"][-2:]
        fc2 = shapes["dist_p.layers.0.blocks.0.mlp.fc2.weight"]
    except (KeyError, ValueError) as error:
        raise UserError(f"the file holds no network of the release's form ({error}); is it fuxi_ens.onnx?") from error
    default = ModelConfig()
    if (inputs, width, mask is None) != (HISTORY * len(default.channels), default.embedding, False):
        raise UserError(
            f"a network of embedding {width} for {inputs // HISTORY} channels is not the release; name its channels, "
            "heads and window by --config"
        )
    assert mask is not None
    depth = {net: {(int(a), int(b)) for n, a, b in map(_place, shapes) if n == net} for net in ("dist_p", "decoder.0")}
    return ModelConfig(
        channels=vocabulary.CHANNELS_78,
        height=height_width[0],
        width=height_width[1],
        patch=patch,
        embedding=width,
        heads=default.heads,
        window=math.isqrt(mask[-1]),
        mlp_hidden=fc2[1] if fc2[0] == width else fc2[0],
        perturbation_layers=1 + max((layer for layer, _ in depth["dist_p"]), default=0),
        forecast_layers=1 + max((layer for layer, _ in depth["decoder.0"]), default=0),
        blocks_per_layer=1 + max((block for _, block in depth["dist_p"]), default=0),
        **RELEASE,
    )


def _place(key: str) -> tuple[str, str, str]:
    found = _BLOCK.match(key)
    return (found[1], found[2], found[3]) if found else ("", "0", "0")
