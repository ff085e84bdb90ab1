"""From the packaged analyses to the scorecard through the pipelines, with the demo's run file made small.

A second run, elsewhere, gives the same bytes of everything that is published.
"""

import csv
import json

import numpy as np
import pytest
import torch
import xarray as xr
from tiny_run import digest

from fuxi_ens.assets import config_file
from fuxi_ens.checkpoint import load_checkpoint
from fuxi_ens.config import load_config
from fuxi_ens.paths import RunPaths
from pipelines.demo import demo

pytestmark = pytest.mark.slow

SMALL = [
    "run.threads=1",
    "data.train.0.end=1994-12-31T18:00",
    "data.train.1.end=1995-12-31T18:00",
    "verify.climatology.periods.0.end=1995-01-20T18:00",
    "verify.climatology.periods.1.end=1996-01-20T18:00",
    "model.embedding=16",
    "model.heads=2",
    "model.mlp_hidden=32",
    "model.forecast_layers=1",
    "train.validation_init_times=2",
    *(f"train.stages.{stage}.iterations=3" for stage in range(3)),
    *(f"train.stages.{stage}.warmup_iterations=1" for stage in range(3)),
    *(f"train.stages.{stage}.batch_size=2" for stage in range(3)),
    "train.stages.2.rollout_steps=2",
    "forecast.init_times.end=1997-01-07",
    "forecast.members=3",
    "forecast.members_per_batch=3",
    "forecast.steps=8",
    "forecast.leads_per_shard=8",
    "report.map_lead_hours=24",
]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


def run_all(folder):
    demo(out=folder, overrides=SMALL)
    return RunPaths(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_all(tmp_path_factory.mktemp("first") / "run")


def record(paths):
    """What training recorded, but for the times it took."""
    return [line for line in paths.metrics.read_text().splitlines() if '"kind": "pace"' not in line]


def arrays(paths):
    """Bytes of every array in the forecast store."""
    with xr.open_zarr(paths.forecast, chunks=None, decode_timedelta=True) as dataset:
        return {str(name): array.values.tobytes() for name, array in dataset.variables.items()}


def test_every_stage_leaves_its_artifact(run):
    statistics = json.loads(run.statistics.read_text())
    assert statistics["frames"] == 2 * 11 * 4
    assert load_checkpoint(run.model).model.config == load_config(config_file("demo"), SMALL).model
    assert len(run.metrics.read_text().splitlines()) >= 6
    assert len(list(run.scores.rglob("*.nc"))) >= 2 * 4


def test_the_forecast_is_whole(run):
    with xr.open_zarr(run.forecast, chunks=None, decode_timedelta=True) as dataset:
        assert dict(dataset.sizes) == {
            "time": 2,
            "number": 3,
            "prediction_timedelta": 8,
            "latitude": 32,
            "longitude": 64,
            "level": 2,
        }
        for name, array in dataset.data_vars.items():
            levels = array.dropna("level", how="all") if "level" in array.dims else array
            assert np.isfinite(levels.values).all(), name
        assert dataset["total_precipitation_6hr"].min() >= 0.0


def test_the_scorecard_compares_the_forecast_with_the_baseline(run):
    with (run.report / "scorecard.csv").open() as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    assert rows
    text = (run.report / "scorecard.csv").read_text()
    for channel in ("z500", "t850", "msl", "t2m", "ws10m", "tp"):
        assert channel in text


def test_the_report_stands_alone(run):
    html = (run.report / "report.html").read_text(encoding="utf-8")
    assert "FuXi-ENS demo on a nature run" in html
    assert "neither" in html
    assert 'src="http' not in html
    assert (run.report / "scorecard.png").stat().st_size > 10_000


def test_a_second_run_elsewhere_gives_the_same_bytes(run, tmp_path):
    again = run_all(tmp_path / "second" / "place")
    assert digest(again.model) == digest(run.model)
    assert record(again) == record(run)
    assert arrays(again) == arrays(run)
    assert (again.report / "scorecard.csv").read_bytes() == (run.report / "scorecard.csv").read_bytes()


def test_the_chain_started_again_does_nothing_twice(run):
    before = {path: path.stat().st_mtime_ns for folder in (run.forecast, run.scores) for path in folder.rglob("*")}
    run_all(run.folder)
    assert {path: path.stat().st_mtime_ns for path in before} == before
