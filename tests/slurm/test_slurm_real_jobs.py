"""Jobs of a real SLURM that need little of the model: requeues, a second submission, and the whole chain."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
import xarray as xr
from jobs import PATIENCE, until
from makers import WRITTEN, make_analysis, make_ensemble, times
from submitting import FUXI_ENS, submit, write_site
from tiny_run import new_run, randomize, tiny_config, write_settings

from fuxi_ens.checkpoint import save_checkpoint
from fuxi_ens.data.statistics import load_statistics
from fuxi_ens.forecast.layout import layout_of
from fuxi_ens.paths import RunPaths
from fuxi_ens.stores.finished import finished
from fuxi_ens.train.setup import initial_model

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

TRAINING = """#!{python}
# In place of a training that never saves anything: stops as asked, then dies as a lost process does.
import os, signal, sys
from pathlib import Path
from fuxi_ens.errors import ExitCode, UserError
from fuxi_ens.train.attempts import note_attempt
if sys.argv[1] == "check":
    sys.exit(ExitCode.DONE)
try:
    note_attempt(Path("{folder}"), (0, 0))
except UserError as error:
    print(error)
    sys.exit(ExitCode.USER_ERROR)
if os.environ.get("SLURM_RESTART_COUNT") == "1":
    os.kill(os.getpid(), signal.SIGKILL)
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(ExitCode.STOPPED))
print("ready", flush=True)
signal.pause()
"""
LEADS = np.arange(1, 5) * np.timedelta64(6, "h")
CHAIN = {
    "train.stages.0.iterations": 8,
    "train.stages.1.iterations": 4,
    "forecast.init_times.end": "2018-01-03T12:00",
    "verify.climatology.window_days": 2,
}


def test_a_job_goes_back_into_the_queue_until_it_gets_nowhere(jobs, world, tmp_path):
    config = new_run(world, tmp_path / "run")
    RunPaths(config.run.folder).training.mkdir()
    program = tmp_path / "bin" / "fuxi-ens"
    program.parent.mkdir()
    program.write_text(TRAINING.format(python=sys.executable, folder=RunPaths(config.run.folder).training))
    program.chmod(0o755)
    site = write_site(tmp_path, setup=f"export PATH={program.parent}:$PATH")
    job = submit(jobs, "train", config, site, "--nodes=1")["train"]
    until(lambda: "ready" in jobs.log(job), PATIENCE, lambda: jobs.log(job))

    again = [FUXI_ENS, "submit", "train", config.run.folder / "submitted.yaml", "--site", site]
    assert "scancel" in jobs.refusal(*again)

    jobs.run("scancel", "--batch", "--signal=USR1", job)
    jobs.wait(job, "FAILED")
    assert jobs.restarts(job) == 2
    assert jobs.info(job)["ExitCode"] == "1:0"
    assert "began 2 times at stage 0, iteration 0" in jobs.log(job)


@pytest.fixture(scope="module")
def chained(world, tmp_path_factory):
    """Config of a run from nothing to a scorecard, four init times."""
    folder = tmp_path_factory.mktemp("chain")
    init_times = times("2018-01-02", "2018-01-03T12", 12)
    make_ensemble(folder / "baseline.zarr", channels=WRITTEN, init_times=init_times, lead_times=LEADS)
    (folder / "run").mkdir()
    return tiny_config(world, folder / "run", {**CHAIN, "verify.baseline": str(folder / "baseline.zarr")})


def test_a_chain_goes_from_statistics_to_a_scorecard(jobs, chained, tmp_path):
    submitted = submit(jobs, "chain", chained, write_site(tmp_path), "--tasks=4")
    assert list(submitted) == ["statistics", "train", "forecast", "verify", "scorecard"]
    # Those after it go on waiting when an administrator puts it back into the queue.
    jobs.wait_running(submitted["train"])
    jobs.run("scontrol", "requeue", submitted["train"])
    jobs.wait(submitted["scorecard"], seconds=2 * PATIENCE)
    assert jobs.restarts(submitted["train"]) == 1
    paths = RunPaths(chained.run.folder)
    assert json.loads(paths.statistics.read_text())["frames"] == 40
    assert list(paths.report.rglob("*.csv"))
    elements = jobs.run(
        "squeue", "--noheader", "--states=all", "--array", f"--jobs={submitted['forecast']}", "--format=%K %T"
    )
    assert sorted(elements.splitlines()) == [f"{i} COMPLETED" for i in range(4)]

    # The array's store, written by four jobs at once, against that of one process.
    single = tiny_config(chained.data.store.rpartition("/")[0], tmp_path / "single", CHAIN)
    shutil.copytree(paths.model, RunPaths(single.run.folder).model)
    jobs.run(FUXI_ENS, "forecast", write_settings(single, tmp_path / "single.yaml"))
    with xr.open_zarr(paths.forecast) as array, xr.open_zarr(RunPaths(single.run.folder).forecast) as one:
        assert array.sizes["time"] == 4
        xr.testing.assert_equal(array, one)


YEAR = {
    "data.test": [{"start": "2017-12-31", "end": "2019-01-01"}],
    "forecast.init_times": {"start": "2018-01-01", "end": "2018-12-31", "every_hours": 24},
    "forecast.steps": 1,
    "model.output": "increment",
    "report": None,
}


def test_a_year_of_init_times_is_made_by_an_array_of_four_tasks(jobs, world, tmp_path):
    make_analysis(tmp_path / "year.zarr", when=times("2017-12-31", "2018-12-31"))
    changes = {**YEAR, "forecast.store": str(tmp_path / "year.zarr")}
    config, single = (new_run(world, tmp_path / name, changes) for name in ("year", "single"))
    statistics = load_statistics(RunPaths(config.run.folder).statistics, config)
    model = randomize(initial_model(config, statistics, torch.device("cpu")))
    for one in (config, single):
        save_checkpoint(RunPaths(one.run.folder).model, model, 6, {"made": "by hand"})

    job = submit(jobs, "forecast", config, write_site(tmp_path), "--tasks=4")["forecast"]
    jobs.wait(job)
    paths, init_times = RunPaths(config.run.folder), config.forecast.init_times.times
    assert len(init_times) == 365
    assert finished(paths.forecast, init_times).all()
    assert len(list(paths.forecast.glob("*/c.*"))) == layout_of(config).files

    # Every 73rd, by one process.
    jobs.run(FUXI_ENS, "forecast", write_settings(single, tmp_path / "single.yaml"), "--part", "0/73")
    with xr.open_zarr(paths.forecast) as array, xr.open_zarr(RunPaths(single.run.folder).forecast) as one:
        xr.testing.assert_equal(array.isel(time=slice(None, None, 73)), one.isel(time=slice(None, None, 73)))
        assert array["2m_temperature"].notnull().all()


def test_after_a_failed_stage_nothing_of_the_chain_is_left(jobs, chained, tmp_path):
    site = write_site(tmp_path, setup="exit 1")
    submitted = submit(jobs, "chain", chained, site)
    until(lambda: not jobs.run("squeue", "--noheader"), PATIENCE, lambda: jobs.run("squeue"))
    assert {stage: jobs.state(job) for stage, job in submitted.items()} == {
        "statistics": "FAILED", "train": "CANCELLED", "forecast": "CANCELLED", "verify": "CANCELLED",
        "scorecard": "CANCELLED",
    }  # fmt: skip


def test_workers_of_dask_that_are_jobs_give_the_same_statistics(jobs, world, tmp_path):
    (tmp_path / "run").mkdir()
    workers = {"queue": "low", "walltime": "00:05:00", "interface": "lo"}
    dask = {"cluster": "slurm", "workers": 2, "memory": "1GiB", "slurm": workers}
    config = tiny_config(world, tmp_path / "run", {"dask": dask})
    settings = write_settings(config, tmp_path / "run.yaml")
    # The jobs of workers log where the command was given.
    jobs.run(FUXI_ENS, "data", "statistics", settings, cwd=tmp_path)
    assert jobs.run("squeue", "--noheader", "--states=all", "--name=dask-worker", "--format=%P").split() == ["low"] * 2
    found = json.loads(RunPaths(config.run.folder).statistics.read_text())
    assert found["mean"] == json.loads((world / "statistics.json").read_text())["mean"]
