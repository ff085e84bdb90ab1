"""`fuxi-ens model`: what a network costs, before it is built; and the released network as a checkpoint."""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from fuxi_ens.config import Config, load_config
from fuxi_ens.config.presets import ASSUMED_TFLOPS
from pipelines.options import ConfigArgument, JsonOption, SetOption

if TYPE_CHECKING:
    from fuxi_ens.model.cost import Rates

log = logging.getLogger(__name__)


RateOption = Annotated[
    float,
    typer.Option(
        min=0.001,
        help="Assumed, not measured: 10^12 operations per second that a GPU sustains in bfloat16; the default is 40 % "
        "of an A100's 312.",
    ),
]
Float32RateOption = Annotated[
    float, typer.Option(min=0.001, help="The same in float32, in which forecasts run; 40 % of an A100's 19.5.")
]


def summary(
    config: ConfigArgument,
    overrides: SetOption = None,
    devices: Annotated[
        int, typer.Option(min=1, help="GPUs of the training; they share weights where train.parallel is fsdp.")
    ] = 1,
    recompute: Annotated[
        bool | None,
        typer.Option(help="Recompute blocks backwards instead of keeping them.", show_default="train.recompute"),
    ] = None,
    tflops: RateOption = ASSUMED_TFLOPS["bfloat16"],
    float32_tflops: Float32RateOption = ASSUMED_TFLOPS["float32"],
    as_json: JsonOption = False,
) -> None:
    """Count parameters, operations, memory and GPU hours of the networks a config describes, without building them.

    Memory is that of one device: weights and tensors, without what kernels and the allocator take on top. Hours are
    those of every device at an assumed rate, without validation and reading. Batches are per device: N devices take as
    long as one, see N times as many samples, and take N times the GPU hours.

    Example: `fuxi-ens model summary configs/era5_0p25deg.yaml --devices 8`
    """
    from fuxi_ens.model.cost import Rates

    run = load_config(config, overrides or [])
    if recompute is not None:
        run = run.model_copy(update={"train": run.train.model_copy(update={"recompute": recompute})})
    facts = _counts(run) | _memory(run, devices) | _hours(run, devices, Rates(tflops, float32_tflops))
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


def _counts(run: Config) -> dict[str, float]:
    from fuxi_ens.model.summary import step_flops, summarize

    step = step_flops(run.model)
    return {**summarize(run.model), "step_flops": step, "member_flops": step * run.forecast.steps}


def _memory(run: Config, devices: int) -> dict[str, float]:
    from fuxi_ens.model.memory import Placement, forecast_memory, run_memory

    forecast = forecast_memory(run.model, run.forecast.members_per_batch)
    facts: dict[str, float] = {"forecast_bytes": forecast.total, "forecast_activation_bytes": forecast.activations}
    for name, memory in run_memory(run, Placement.configured(run.train, devices)).items():
        facts[f"train_{name}_bytes"] = memory.total
        facts[f"train_{name}_activation_bytes"] = memory.activations + memory.working
    return facts


def _hours(run: Config, devices: int, rates: "Rates") -> dict[str, float]:
    from fuxi_ens.model.cost import ensemble_minutes, training_hours

    hours = training_hours(run, rates)
    return {
        **{f"train_{name}_hours": value for name, value in hours.items()},
        "train_gpu_hours": devices * sum(hours.values()),
        "ensemble_gpu_minutes": ensemble_minutes(run.model, run.forecast.members, run.forecast.steps, rates),
    }


def _shown(name: str, value: float) -> str:
    if name.endswith("bytes"):
        return f"{value / 1e9:,.2f} GB"
    if name.endswith("flops"):
        return f"{value / 1e12:,.4g} TFLOP"
    if name.endswith(("hours", "minutes")):
        return f"{value:,.3g}"
    return f"{value:,}"
