"""`fuxi_ens.onnx` to a checkpoint folder, tensor by tensor."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fuxi_ens import __version__
from fuxi_ens.checkpoint import is_complete, write_checkpoint
from fuxi_ens.config import ModelConfig
from fuxi_ens.convert.fit import Fit, fit
from fuxi_ens.convert.names import key_of
from fuxi_ens.convert.onnx_file import Initializer, Inline, read_initializers
from fuxi_ens.convert.shapes import model_config
from fuxi_ens.errors import StoreError, UserError
from fuxi_ens.model import FuxiEns, build_model
from fuxi_ens.model.attention import rotary_table, shift_mask

_OURS_ALONE = "increment_std"
_STEP_SIZE_HOURS = 6
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Conversion:
    """What was written, and what the file held beside weights."""

    config: ModelConfig
    tensors: int
    parameters: int
    derived: tuple[str, ...]
    constants: int


def convert_onnx(source: Path, folder: Path, config: ModelConfig | None = None) -> Conversion:
    """Write the network in `source` to `folder`; without `config` the shapes in the file must be the release's.

    The checkpoint serves forecasts: the release has no posterior, so that there is none here either. Raises StoreError
    when one tensor is missing, is too many or has another shape; then nothing is written.
    """
    if is_complete(folder):
        raise UserError(f"{folder} holds a model already; delete it or choose another folder")
    initializers = read_initializers(source)
    config = config or model_config(*_shapes(initializers))
    model = build_model(config, "meta", posterior=False)
    expected = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items() if key != _OURS_ALONE}
    found = fit(initializers, expected, _tables(config))
    _refuse_misfits(source, found)
    ours = Inline(np.ones(len(config.channels), np.float32))
    with source.open("rb") as file:
        graph_hash = hashlib.file_digest(file, "sha256").hexdigest()
    provenance: dict[str, str | int] = {
        "fuxi_ens_version": __version__,
        "converted_from": source.name,
        "graph_hash": graph_hash,
        "license": "that of the converted weights",
    }
    write_checkpoint(folder, config, {**found.placed, _OURS_ALONE: ours}, _STEP_SIZE_HOURS, provenance)
    return Conversion(config, len(found.placed), _parameters(model), tuple(found.derived), len(found.constants))


def _refuse_misfits(source: Path, found: Fit) -> None:
    problems = found.problems
    if problems:
        more = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        listed = "".join(f"\n  {problem}" for problem in problems[:_SHOWN])
        raise StoreError(
            f"{source} does not hold the network of the model section; nothing was written{listed}{more}\n"
            "give the --config whose model section describes it"
        )


def _shapes(initializers: Sequence[Initializer]) -> tuple[dict[str, tuple[int, ...]], tuple[int, ...] | None]:
    """Shapes by key, and that of an attention mask [X, L, L] if there is one."""
    shapes = {key: item.shape for item in initializers if (key := key_of(item))}
    squeezed = [tuple(n for n in item.shape if n != 1) for item in initializers if key_of(item) is None]
    masks = [shape for shape in squeezed if len(shape) == 3 and shape[1] == shape[2]]
    return shapes, masks[0] if masks else None


def _tables(config: ModelConfig) -> dict[str, NDArray[np.float32]]:
    """What we compute and an exporter stores."""
    cos, sin = rotary_table(config.window**2, config.embedding // config.heads)
    mask = shift_mask(config.token_grid, config.window, config.block_shift)
    return {"attention mask": mask.numpy(), "rotary cosines": cos.numpy(), "rotary sines": sin.numpy()}


def _parameters(model: FuxiEns) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
