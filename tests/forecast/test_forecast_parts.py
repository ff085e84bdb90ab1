"""A forecast in parts: processes that begin at the same moment make one store, with the bits of a single process."""

import shutil
import warnings

import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from stored_forecast import write_frames
from tiny_run import digest, new_run, randomize, start, write_settings
from typer.testing import CliRunner

from fuxi_ens.checkpoint import save_checkpoint
from fuxi_ens.data.statistics import load_statistics
from fuxi_ens.errors import StoreError
from fuxi_ens.forecast import ensemble
from fuxi_ens.forecast.layout import Layout
from fuxi_ens.forecast.store import ForecastStore
from fuxi_ens.grid import LatLonGrid
from fuxi_ens.paths import RunPaths
from fuxi_ens.stores.finished import finished
from fuxi_ens.train.setup import initial_model
from pipelines.__main__ import app

INIT_TIMES = np.array(["2018-01-01T00", "2018-01-01T12"], dtype="datetime64[ns]")
BOTH = range(2)
LAYOUT = Layout(INIT_TIMES, 2, np.array([6], dtype="timedelta64[h]"), ("z500", "t2m"), LatLonGrid(4, 8), 2)
FIVE = {"forecast.init_times": {"start": "2018-01-02", "end": "2018-01-03", "every_hours": 6}}


def open_store(path, config_hash="abc"):
    return ForecastStore(path, LAYOUT, {"config_hash": config_hash})


@pytest.fixture
def meanwhile(monkeypatch):
    """Lets something happen once, just before the next store that is created appears under its name."""

    def arrange(happen):
        real = xr.Dataset.to_zarr

        def write(*args, **kwargs):
            monkeypatch.setattr(xr.Dataset, "to_zarr", real)
            result = real(*args, **kwargs)
            happen()
            return result

        monkeypatch.setattr(xr.Dataset, "to_zarr", write)

    return arrange


class TestCreation:
    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "f.zarr"

    def test_the_first_creator_wins_and_its_work_stays(self, path, meanwhile):
        frames = np.full((2, 1, 2, 4, 8), 3.0, dtype="f4")

        def happen():
            first = open_store(path)
            write_frames(first, INIT_TIMES[0], 0, frames)
            first.finish(INIT_TIMES[0], BOTH)

        meanwhile(happen)
        second = open_store(path)
        assert [second.is_finished(time, BOTH) for time in INIT_TIMES] == [True, False]
        write_frames(second, INIT_TIMES[1], 0, 2 * frames)
        with xr.open_zarr(path, chunks=None, decode_timedelta=True) as dataset:
            assert dataset["2m_temperature"].values[:, 0, 0, 0, 0].tolist() == [3.0, 6.0]

    def test_the_loser_leaves_nothing_behind(self, path, meanwhile):
        meanwhile(lambda: open_store(path))
        open_store(path)
        assert list(path.parent.iterdir()) == [path]

    def test_the_loser_of_another_forecast_is_refused(self, path, meanwhile):
        meanwhile(lambda: open_store(path, "xyz"))
        with pytest.raises(StoreError, match="holds another forecast"):
            open_store(path)

    def test_something_else_in_its_place_is_refused(self, path):
        (path / "mine").mkdir(parents=True)
        with pytest.raises(StoreError, match="is not a forecast store"):
            open_store(path)
        assert list(path.iterdir()) == [path / "mine"]

    def test_a_failure_of_the_disk_is_no_lost_race(self, path, meanwhile):
        meanwhile(lambda: path.write_text("a file"))
        with pytest.raises(NotADirectoryError):
            open_store(path)
        assert list(path.parent.iterdir()) == [path]

    def test_markers_go_with_their_store(self, path):
        open_store(path).finish(INIT_TIMES[0], BOTH)
        moved = path.rename(path.with_name("g.zarr"))
        assert finished(moved, INIT_TIMES[:1]).all()
        assert not open_store(path).is_finished(INIT_TIMES[0], BOTH)

    def test_readers_do_not_stumble_over_markers(self, path):
        open_store(path).finish(INIT_TIMES[0], BOTH)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert "2m_temperature" in dict(zarr.open_group(path, mode="r").members())
            with xr.open_zarr(path, chunks=None, decode_timedelta=True) as dataset:
                assert set(dataset.data_vars) == {"geopotential", "2m_temperature"}


class TestParts:
    @pytest.fixture
    def forecast(self, world, tmp_path, monkeypatch):
        """Runs the command without its work; returns exit code and the init times and the part it was to do."""
        settings = write_settings(new_run(world, tmp_path / "run", FIVE), tmp_path / "run.yaml")

        def run(*arguments):
            asked = []

            def note(config, chosen, part, open_sinks):
                asked.append((None if chosen is None else chosen.astype("datetime64[h]").astype(str).tolist(), part))
                return ensemble.ForecastSummary(tmp_path, 5, 0, ())

            monkeypatch.setattr(ensemble, "run_forecast", note)
            result = CliRunner().invoke(app, ["forecast", str(settings), *arguments])
            return result.exit_code, *asked

        return run

    def test_without_a_part_all_are_done(self, forecast):
        assert forecast() == (0, (None, slice(None)))

    def test_a_part_is_every_nth(self, forecast):
        assert forecast("--part", "1/2") == (0, (None, slice(1, None, 2)))

    def test_a_part_of_chosen_init_times(self, forecast):
        chosen = ["--init", "2018-01-02T06:00:00", "--init", "2018-01-02T12:00:00"]
        expected = ["2018-01-02T06", "2018-01-02T12"]
        assert forecast(*chosen, "--part", "1/2") == (0, (expected, slice(1, None, 2)))

    @pytest.mark.parametrize("part", ["2/2", "1", "-1/2", "0/0", "1/2/3"])
    def test_what_is_no_part_is_refused(self, forecast, part):
        assert forecast(f"--part={part}")[0] == 2


@pytest.mark.slow
def test_parts_at_the_same_moment_equal_a_single_process(world, tmp_path):
    """Files and markers, byte for byte."""
    configs = [new_run(world, tmp_path / name, {"model.output": "increment"}) for name in ("whole", "parts")]
    statistics = load_statistics(RunPaths(configs[0].run.folder).statistics, configs[0])
    model = randomize(initial_model(configs[0], statistics, torch.device("cpu")))
    save_checkpoint(RunPaths(configs[0].run.folder).model, model, 6, {"made": "by hand"})
    shutil.copytree(RunPaths(configs[0].run.folder).model, RunPaths(configs[1].run.folder).model)
    settings = [write_settings(config, tmp_path / f"{config.run.folder.name}.yaml") for config in configs]
    program = "from pipelines.__main__ import main; main()"
    processes = [start(program, "forecast", settings[1], "--part", f"{k}/2") for k in range(2)]
    processes.append(start(program, "forecast", settings[0]))
    for process in processes:
        assert process.wait(120) == 0, process.stderr.read()
        process.stdout.close()
        process.stderr.close()
    whole, parts = (digest(RunPaths(config.run.folder).forecast) for config in configs)
    assert whole == parts
    assert ".complete/2018-01-02T12:00_0-1" in whole
