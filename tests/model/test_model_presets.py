"""Every run file states what its network costs, and states it rightly."""

import re
from pathlib import Path

import pytest

from fuxi_ens.config import load_config
from fuxi_ens.convert.shapes import RELEASE
from fuxi_ens.model.memory import Placement, training_memory
from fuxi_ens.model.summary import step_flops, summarize

FILES = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
POWERS = {"million": 1e6, "billion": 1e9, "GFLOP": 1e9, "TFLOP": 1e12, "PFLOP": 1e15, "GB": 1e9}
COST = re.compile(
    r"^# Cost: (\S+) (million|billion) parameters, (\S+) ([GTP]FLOP) per step, (\S+) ([GTP]FLOP) per 15-day member; "
    r"training at most (\S+) (GB)\.$",
    re.MULTILINE,
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_header_states_the_cost(path):
    run = load_config(path)
    stated = COST.search(path.read_text())
    assert stated, "no line `# Cost: ...`"
    numbers = [float(n.replace(",", "")) * POWERS[unit] for n, unit in zip(*[iter(stated.groups())] * 2, strict=True)]
    flops = step_flops(run.model)
    placement = Placement(bfloat16=run.train.precision == "bfloat16")
    training = max(training_memory(run.model, stage, placement).total for stage in run.train.stages)
    found = [summarize(run.model)["inference_parameters"], flops, flops * run.forecast.steps, training]
    assert numbers == pytest.approx(found, rel=0.02)


def test_the_release_preset_is_the_release_in_every_setting():
    section = load_config(next(path for path in FILES if path.stem == "release")).model
    assert {key: getattr(section, key) for key in RELEASE} == RELEASE
    assert summarize(section)["inference_parameters"] == 2_474_861_958


def test_our_preset_of_that_size_differs_in_what_it_names():
    ours, release = (load_config(next(p for p in FILES if p.stem == n)).model for n in ("era5_0p25deg", "release"))
    different = {key for key, value in ours.model_dump().items() if value != getattr(release, key)}
    assert different == {"polar_row", "missing_points", "norm_variance", "logvar_bounds"}
