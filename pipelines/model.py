"""`fuxi-ens model`: what a network costs, before it is built; and the released network as a checkpoint."""

import json
import logging
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fuxi_ens.config import Config, load_config
from pipelines.options import ConfigArgument, JsonOption, SetOption

log = logging.getLogger(__name__)


def summary(
    config: ConfigArgument,
    overrides: SetOption = None,
    devices: Annotated[int, typer.Option(min=1, help="Share weights and optimizer state among N devices.")] = 1,
    recompute: Annotated[bool, typer.Option(help="Recompute blocks backwards instead of keeping them.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Count parameters, operations and memory of the networks a config describes, without building them.

    Memory is that of one device: weights and tensors, without what kernels and the allocator take on top.

    Example: `fuxi-ens model summary configs/era5_0p25deg.yaml --devices 8 --recompute`
    """
    run = load_config(config, overrides or [])
    facts = _counts(run) | _memory(run, devices, recompute)
    if as_json:
        typer.echo(json.dumps(facts))
        return
    table = Table("quantity", "value", title="Model")
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), _shown(name, value))
    Console().print(table)


def convert(
    source: Annotated[Path, typer.Argument(metavar="SRC.onnx", help="The released graph; its weights lie beside it.")],
    folder: Annotated[Path, typer.Argument(metavar="DST", help="Folder for the checkpoint, e.g. runs/release/model.")],
    config: Annotated[
        Path | None, typer.Option(help="Run file whose model section describes the file; default: the release.")
    ] = None,
) -> None:
    """Make a checkpoint of the released ONNX network, tensor by tensor, or say what does not fit.

    Forecasts with it need a run file with the model section of the release. The weights keep their license
    (CC BY-NC 4.0).

    Example: `fuxi-ens model convert fuxi_ens.onnx runs/release/model --config configs/release.yaml`
    """
    from fuxi_ens.convert import convert_onnx

    done = convert_onnx(source, folder, load_config(config, []).model if config else None)
    log.info("%d tensors, %s parameters written to %s", done.tensors, f"{done.parameters:,}", folder)
    for table in done.derived:
        log.info("not copied, computed here and equal: %s", table)


def _counts(run: Config) -> dict[str, int]:
    from fuxi_ens.model.summary import step_flops, summarize

    step = step_flops(run.model)
    return summarize(run.model) | {"step_flops": step, "member_flops": step * run.forecast.steps}


def _memory(run: Config, devices: int, recompute: bool) -> dict[str, int]:
    from fuxi_ens.model.memory import Placement, forecast_memory, training_memory

    placement = Placement(run.train.precision == "bfloat16", recompute, devices)
    forecast = forecast_memory(run.model, run.forecast.members_per_batch)
    facts = {"forecast_bytes": forecast.total, "forecast_activation_bytes": forecast.activations}
    for stage in run.train.stages:
        memory = training_memory(run.model, stage, placement)
        facts[f"train_{stage.name}_bytes"] = memory.total
        facts[f"train_{stage.name}_activation_bytes"] = memory.activations + memory.working
    return facts


def _shown(name: str, value: int) -> str:
    if name.endswith("bytes"):
        return f"{value / 1e9:,.2f} GB"
    if name.endswith("flops"):
        return f"{value / 1e12:,.4g} TFLOP"
    return f"{value:,}"
