"""`fuxi-ens model`: what users type."""

import json

import pytest
from typer.testing import CliRunner

from fuxi_ens.assets import config_file
from pipelines.__main__ import app


def run(*arguments):
    return CliRunner().invoke(app, ["model", *map(str, arguments)])


def facts(*options, config="era5_0p25deg"):
    done = run("summary", config_file(config), "--json", *options)
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def test_the_summary_of_the_release_states_size_work_and_memory():
    found = facts()
    assert found["inference_parameters"] == 2_474_861_958
    assert found["member_flops"] == 60 * found["step_flops"]
    assert found["forecast_bytes"] > found["inference_weight_bytes"]
    assert {"train_deterministic_bytes", "train_ensemble_bytes", "train_rollout_12_bytes"} <= found.keys()


def test_devices_share_what_the_run_says_they_share():
    plain, shared = facts("--devices", "1"), facts("--devices", "8")
    copied = facts("--devices", "8", "--set", "train.parallel=ddp")
    assert shared["train_ensemble_bytes"] < plain["train_ensemble_bytes"]
    alone = facts("--devices", "8", "--set", "train.parallel=ddp", "--set", "train.ranks_per_sample=1")
    assert copied["train_ensemble_bytes"] < alone["train_ensemble_bytes"] == plain["train_ensemble_bytes"]
    assert copied["train_gpu_hours"] == shared["train_gpu_hours"] == 8 * plain["train_gpu_hours"]


def test_recomputing_trades_memory_for_hours():
    own, recomputed, kept = facts(), facts("--recompute"), facts("--no-recompute")
    assert own == recomputed
    assert recomputed["train_ensemble_activation_bytes"] < 0.5 * kept["train_ensemble_activation_bytes"]
    assert recomputed["forecast_bytes"] == kept["forecast_bytes"]
    assert 1.25 < recomputed["train_gpu_hours"] / kept["train_gpu_hours"] < 4 / 3


def test_hours_follow_the_rates():
    usual, fast = facts(), facts("--tflops", "250", "--float32-tflops", "16")
    for name in ("train_gpu_hours", "train_ensemble_hours", "ensemble_gpu_minutes"):
        assert fast[name] == pytest.approx(usual[name] / 2)
    assert usual["ensemble_gpu_minutes"] == pytest.approx(50 * usual["member_flops"] / 8e12 / 60)


def test_the_batch_of_a_forecast_counts():
    one, four = (facts("--set", f"forecast.members_per_batch={n}") for n in (1, 4))
    assert four["forecast_activation_bytes"] == 4 * one["forecast_activation_bytes"]


def test_the_table_has_units():
    done = run("summary", config_file("demo"))
    assert done.exit_code == 0
    assert " GB" in done.output
    assert " TFLOP" in done.output
    assert "2,786,128" in done.output


def test_an_absent_release_is_a_plain_error(tmp_path):
    pytest.importorskip("onnx")
    done = run("convert", tmp_path / "fuxi_ens.onnx", tmp_path / "model")
    assert done.exit_code != 0
    assert isinstance(done.exception, FileNotFoundError)
