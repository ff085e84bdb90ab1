"""What `fuxi-ens check` says of a training's memory and cost, from the run's own settings and the launcher's."""

import pytest
from tiny_run import make_world, new_run

from fuxi_ens.model.cost import Rates, training_hours
from fuxi_ens.model.memory import Placement, run_memory
from fuxi_ens.preflight import preflight


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


def findings(config):
    """Details by check, of the training only."""
    return {finding.check: finding.detail for finding in preflight(config, ["train"])}


def test_one_process_is_one_device(world, tmp_path):
    config = new_run(world, tmp_path / "run")
    found = findings(config)
    most = max(memory.total for memory in run_memory(config, Placement.configured(config.train, 1)).values())
    assert found["training memory"].startswith(f"about {most / 1e6:.3g} MB on the device in stage ")
    hours = sum(training_hours(config, Rates()).values())
    assert found["training cost"].startswith(f"about {hours:,.3g} GPU hours, {hours:,.3g} on the device")
    # The tiny run trains in float32.
    assert "8 TFLOP/s, which is assumed" in found["training cost"]
    faster = findings(new_run(world, tmp_path / "half", {"train.precision": "bfloat16"}))
    assert "125 TFLOP/s, which is assumed" in faster["training cost"]


def test_processes_that_share_are_told(world, tmp_path, monkeypatch):
    for name, value in {"WORLD_SIZE": "4", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    config = new_run(world, tmp_path / "run", {"train.parallel": "fsdp", "train.recompute": True})
    found = findings(config)
    assert "on each of 4 devices in stage" in found["training memory"]
    assert "shared by 4" in found["training memory"]
    hours = sum(training_hours(config, Rates()).values())
    assert found["training cost"].startswith(f"about {4 * hours:,.3g} GPU hours, {hours:,.3g} on each of 4 devices")


def test_copies_are_not_called_shared(world, tmp_path, monkeypatch):
    for name, value in {"WORLD_SIZE": "4", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    assert "shared" not in findings(new_run(world, tmp_path / "run"))["training memory"]
