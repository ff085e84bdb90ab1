"""A forecast divided among work items, ranks, processes that race, attempts that were killed: always the same bits."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import xarray as xr
from tiny_run import digest, new_run, randomize, write_settings

from fuxi_ens.checkpoint import save_checkpoint
from fuxi_ens.data.statistics import load_statistics
from fuxi_ens.errors import StoreError
from fuxi_ens.forecast.ensemble import run_forecast
from fuxi_ens.forecast.estimate import estimate
from fuxi_ens.paths import RunPaths
from fuxi_ens.stores.finished import finished
from fuxi_ens.train.setup import initial_model
from fuxi_ens.verify.open import open_forecast
from pipelines.__main__ import main

BASE = {
    "model.output": "increment",
    "forecast.members": 6,
    "forecast.members_per_batch": 1,
    "forecast.steps": 2,
    "report.map_lead_hours": 12,
}
FIFTY = [pytest.param(50, None, marks=pytest.mark.slow), pytest.param(50, 16, marks=pytest.mark.slow)]
PROGRAM = "from pipelines.__main__ import main; main()"


@pytest.fixture(scope="module")
def model_folder(world, tmp_path_factory):
    config = new_run(world, tmp_path_factory.mktemp("model"), BASE)
    statistics = load_statistics(RunPaths(config.run.folder).statistics, config)
    model = randomize(initial_model(config, statistics, torch.device("cpu")))
    save_checkpoint(RunPaths(config.run.folder).model, model, 6, {"made": "by hand"})
    return RunPaths(config.run.folder).model


@pytest.fixture
def run(world, model_folder, tmp_path):
    """Make a run folder that holds the model; settings may be changed."""

    def make(name="run", **changes):
        config = new_run(world, tmp_path / name, {**BASE, **changes})
        shutil.copytree(model_folder, RunPaths(config.run.folder).model)
        return config

    return make


@pytest.fixture(scope="module")
def alone(world, model_folder, tmp_path_factory):
    """All members in one work item per init time."""
    config = new_run(world, tmp_path_factory.mktemp("alone"), BASE)
    shutil.copytree(model_folder, RunPaths(config.run.folder).model)
    run_forecast(config)
    return config


def store(config):
    return RunPaths(config.run.folder).forecast


def arrays(config):
    with xr.open_zarr(store(config), chunks=None) as dataset:
        return dataset.load()


def equal(config, other, **selection):
    a, b = (arrays(c).isel(selection) for c in (config, other))
    return all(a[name].values.tobytes() == b[name].values.tobytes() for name in a.data_vars)


def begin(config, path, *options, rank=0, world=1):
    """The command as one of `world` ranks."""
    settings = write_settings(config, path)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RANK": str(rank), "WORLD_SIZE": str(world)}
    command = [sys.executable, "-c", PROGRAM, "forecast", str(settings), *options]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def end(processes):
    said = [process.communicate(timeout=240)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), said
    return said


@pytest.mark.parametrize(("members", "per_item"), [(6, 1), (6, 4), (10, 8), *FIFTY])
def test_a_member_has_the_same_bits_in_any_block_of_any_ensemble(run, alone, members, per_item):
    config = run(**{"forecast.members": members, "forecast.members_per_item": per_item})
    run_forecast(config)
    assert equal(config, alone, number=slice(6))


@pytest.mark.parametrize("part", [slice(0, None, 3), slice(2, None, 3)])
def test_a_part_is_of_work_items_and_leaves_the_rest(run, alone, part):
    config = run(**{"forecast.members_per_item": 4})
    summary = run_forecast(config, part=part)
    whole = finished(store(config), config.forecast.init_times.times)
    assert (summary.done, summary.left) == (0, 2)
    assert not whole.any()
    assert "2 left: run the same command again" in str(summary)
    assert run_forecast(config).left == 0
    assert equal(config, alone)


def test_only_every_nth_lead_time_is_written(run, alone):
    config = run(**{"forecast.lead_every_hours": 12})
    run_forecast(config)
    expected = arrays(alone).isel(prediction_timedelta=[1])
    for name, array in arrays(config).data_vars.items():
        np.testing.assert_array_equal(array, expected[name])
        assert array.prediction_timedelta.equals(expected.prediction_timedelta)


def test_the_store_says_its_grid(run):
    config = run(**{"forecast.height": 4, "forecast.width": 8, "forecast.members": 2})
    run_forecast(config)
    got = arrays(config)
    assert got.attrs["grid"] == "4x8 latitude-longitude, regridded conservatively from 8x16"
    assert (got.sizes["latitude"], got.sizes["longitude"]) == (4, 8)


def test_only_complete_init_times_are_verified(run, caplog):
    config = run(**{"forecast.members_per_item": 3})
    run_forecast(config, part=slice(0, 3))
    opened = open_forecast(str(store(config)))
    assert opened.whole().init_times.tolist() == opened.init_times[:1].tolist()
    assert "1 of 2 init times are not complete" in caplog.text


def test_a_store_without_a_complete_init_time_cannot_be_verified(run):
    config = run(**{"forecast.members_per_item": 3})
    run_forecast(config, part=slice(0, 1))
    with pytest.raises(StoreError, match="no complete init time yet; run `fuxi-ens forecast`"):
        open_forecast(str(store(config))).whole()


def test_members_that_were_given_up_are_told_and_end_in_an_error(run, tmp_path, monkeypatch, capsys):
    # No value is as near to the middle of its range as this asks for.
    monkeypatch.setattr("fuxi_ens.forecast.guard._limits", lambda name, factor: (1e6, 2e6))
    config = run(**{"forecast.on_failure": "continue", "forecast.members": 2})
    settings = write_settings(config, tmp_path / "run.yaml")
    for _ in range(2):
        monkeypatch.setattr(sys, "argv", ["fuxi-ens", "forecast", str(settings)])
        with pytest.raises(SystemExit, match="1"):
            main()
        said = " ".join(capsys.readouterr().err.split())
        assert "4 members were given up and are missing: member 0 of the forecast from 2018-01-02T00:00: " in said
    assert finished(store(config), config.forecast.init_times.times).all()


def test_the_estimate_falls_with_what_is_done(run):
    config = run()
    before = estimate(config)
    assert before.left_bytes == before.store_bytes
    assert before.store_bytes == 2 * 6 * 2 * before.layout.frame_bytes
    run_forecast(config)
    assert estimate(config).left_bytes == 0


@pytest.mark.slow
def test_four_ranks_make_what_one_makes_and_each_item_once(run, alone, tmp_path):
    config = run(**{"forecast.members_per_item": 2})
    processes = [begin(config, tmp_path / f"{rank}.yaml", rank=rank, world=4) for rank in range(4)]
    said = end(processes)
    assert "2 of 2 init times complete" in said[0]
    assert all("init times complete" not in text for text in said[1:])
    assert equal(config, alone)


@pytest.mark.slow
def test_processes_that_race_for_one_store_share_it(run, alone, tmp_path):
    config = run(**{"forecast.members_per_item": 2})
    single = run("single", **{"forecast.members_per_item": 2})
    end([begin(config, tmp_path / f"{k}.yaml") for k in range(2)])
    run_forecast(single)
    assert digest(store(config)) == digest(store(single))
    assert equal(config, alone)


@pytest.mark.slow
def test_of_two_forecasts_that_race_for_one_store_one_is_refused(run, tmp_path):
    config = run()
    other = config.model_copy(update={"forecast": config.forecast.model_copy(update={"steps": 4})})
    processes = [begin(c, tmp_path / f"{k}.yaml") for k, c in enumerate((config, other))]
    said = [process.communicate(timeout=240)[1] for process in processes]
    assert sorted(process.returncode for process in processes) == [0, 1]
    assert sum("holds another forecast" in text for text in said) == 1


@pytest.mark.slow
def test_killed_again_and_again_the_store_ends_up_the_same(run, tmp_path):
    """Killed when a random number of files is there, half-written ones too; only what is missing is made again."""
    many = {"forecast.members_per_item": 4, "forecast.steps": 12, "forecast.leads_per_shard": 3}
    whole, killed = run("whole", **many), run("killed", **many)
    run_forecast(whole)
    chance, last = random.Random(2025), 2 * 2 * 7 * 4
    for target in sorted(chance.sample(range(1, last // 2), 3)):
        process = begin(killed, tmp_path / "killed.yaml")
        while process.poll() is None and len(list(store(killed).glob("*/c.*"))) < target:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "the forecast was over before it could be killed"
    before = {path: path.stat().st_mtime_ns for path in store(killed).glob(".complete/*")}
    run_forecast(killed)
    assert digest(store(killed)) == digest(store(whole))
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB of its own."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_a_valid_store_that_a_rerun_completes(
    run, world, model_folder, small_disk, tmp_path, monkeypatch, capsys
):
    reference = run("reference", **{"forecast.leads_per_shard": 1})
    run_forecast(reference)
    config = new_run(world, small_disk / "run", {**BASE, "forecast.leads_per_shard": 1})
    RunPaths(config.run.folder).model.symlink_to(model_folder)
    page = os.statvfs(small_disk).f_frsize
    pages = sum(-(-path.stat().st_size // page) for path in store(reference).rglob("*") if path.is_file())
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes((os.statvfs(small_disk).f_bfree - pages * 3 // 4) * page))

    settings = write_settings(config, tmp_path / "run.yaml")
    monkeypatch.setattr(sys, "argv", ["fuxi-ens", "forecast", str(settings)])
    with pytest.raises(SystemExit, match="1"):
        main()
    assert "No space left on device" in (said := capsys.readouterr().err)
    assert "free space and run the same command again" in " ".join(said.split())
    whole = finished(store(config), config.forecast.init_times.times)
    assert not whole.all()
    assert equal(config, reference, time=np.flatnonzero(whole))

    ballast.unlink()
    assert run_forecast(config).left == 0
    assert digest(store(config)) == digest(store(reference))
