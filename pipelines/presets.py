"""`fuxi-ens model presets`: the networks that have a name, and what they cost."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

from fuxi_ens.config.presets import ASSUMED_TFLOPS, ENSEMBLE
from pipelines.model import Float32RateOption, RateOption
from pipelines.options import JsonOption

if TYPE_CHECKING:
    from fuxi_ens.model.cost import PresetCost


def presets(
    tflops: RateOption = ASSUMED_TFLOPS["bfloat16"],
    float32_tflops: Float32RateOption = ASSUMED_TFLOPS["float32"],
    as_json: JsonOption = False,
) -> None:
    """Show the networks that `model: {preset: NAME}` in a run file stands for, with their memory and GPU hours.

    Training is that of the run file: bfloat16, blocks recomputed, weights and optimizer state sharded. Batches are per
    device, so that N devices take as long as one and see N times as many samples. Hours rest on assumed rates, which
    small networks do not reach; validation and reading come on top.

    Example: `fuxi-ens model presets --tflops 400`
    """
    from fuxi_ens.model.cost import Rates, preset_costs

    costs = preset_costs(Rates(tflops, float32_tflops))
    if as_json:
        typer.echo(json.dumps({name: _facts(cost) for name, cost in costs.items()}))
        return
    table = Table("preset", *costs, caption=f"assumed: {tflops:g} TFLOP/s in bfloat16, {float32_tflops:g} in float32")
    for row in zip(*map(_cells, costs.values()), strict=True):
        table.add_row(row[0][0], *(shown for _, shown in row))
    Console().print(table)


def _facts(cost: "PresetCost") -> dict[str, object]:
    model = cost.model
    return asdict(cost) | {"model": {"height": model.height, "width": model.width, "channels": len(model.channels)}}


def _cells(cost: "PresetCost") -> list[tuple[str, str]]:
    """Names and values of the rows, in order."""
    model, (rows, columns) = cost.model, cost.model.token_grid
    return [
        ("run file", cost.run_file),
        ("grid", f"{model.height}x{model.width}"),
        ("channels", str(len(model.channels))),
        ("patch, window", f"{model.patch}, {model.window}"),
        ("tokens", f"{rows}x{columns}"),
        ("embedding", str(model.embedding)),
        ("blocks P + forecast", " + ".join(str(n * model.blocks_per_layer) for n in _layers(cost))),
        ("parameters at inference", f"{cost.parameters:,}"),
        ("a step", _flop(cost.step_flops)),
        ("forecast, one member at a time", _gigabytes(cost.forecast_bytes)),
        *((f"training, on {_each(n)}", _gigabytes(size)) for n, size in cost.training_bytes.items()),
        ("training, hours of every GPU", _time(cost.training_hours)),
        (f"{ENSEMBLE[0]} members, 15 days, GPU minutes", _time(cost.ensemble_minutes)),
    ]


def _layers(cost: "PresetCost") -> tuple[int, int]:
    return cost.model.perturbation_layers, cost.model.forecast_layers


def _each(devices: int) -> str:
    return "1 GPU" if devices == 1 else f"each of {devices} GPUs"


def _flop(count: int) -> str:
    return f"{count / 1e12:.3g} TFLOP" if count >= 1e12 else f"{count / 1e9:.3g} GFLOP"


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.3g} GB"


def _time(value: float) -> str:
    return f"{value:.3g}" if value >= 0.01 else "< 0.01"
