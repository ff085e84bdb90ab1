"""Members of a run: what the store says of them, and what becomes of those that fail."""

import shutil

import numpy as np
import pytest
import torch
import xarray as xr
from tiny_run import new_run, randomize, write_settings
from typer.testing import CliRunner

from fuxi_ens.checkpoint import load_checkpoint, save_checkpoint
from fuxi_ens.data.statistics import load_statistics
from fuxi_ens.errors import StoreError, UserError
from fuxi_ens.export.run import Format
from fuxi_ens.export.run import export as run_export
from fuxi_ens.export.source import Wanted
from fuxi_ens.forecast.ensemble import run_forecast
from fuxi_ens.paths import RunPaths
from fuxi_ens.train.setup import initial_model
from fuxi_ens.verify.open import open_forecast
from pipelines.__main__ import app

ONE = {"forecast.init_times": ["2018-01-02"]}


@pytest.fixture(scope="module")
def model_folder(world, tmp_path_factory):
    config = new_run(world, tmp_path_factory.mktemp("model"), {"model.output": "increment"})
    statistics = load_statistics(RunPaths(config.run.folder).statistics, config)
    model = randomize(initial_model(config, statistics, torch.device("cpu")))
    save_checkpoint(RunPaths(config.run.folder).model, model, 6, {"made": "by hand"})
    return RunPaths(config.run.folder).model


@pytest.fixture
def run(world, model_folder, tmp_path):
    """Make a run folder that holds the model; settings may be changed."""

    def make(name="run", **changes):
        config = new_run(world, tmp_path / name, {"model.output": "increment", **ONE, **changes})
        if not RunPaths(config.run.folder).model.exists():
            shutil.copytree(model_folder, RunPaths(config.run.folder).model)
        return config

    return make


def stored(config):
    with xr.open_zarr(config.forecast_store, chunks=None, decode_timedelta=True) as dataset:
        return dataset.load()


def same_bits(a, b):
    return all(a[name].values.tobytes() == b[name].values.tobytes() for name in a.data_vars)


@pytest.mark.parametrize("draws", ["random", "antithetic", "stratified"])
def test_blocks_of_members_equal_the_whole(run, draws):
    members = {"forecast.members": 4, "forecast.draws": draws, "forecast.control": True}
    whole, blocks = run("whole", **members), run("blocks", **members, **{"forecast.members_per_item": 2})
    run_forecast(whole)
    run_forecast(blocks)
    assert same_bits(stored(whole), stored(blocks))
    assert stored(whole).attrs["draws"] == draws


class TestControl:
    def test_it_comes_first_and_the_others_keep_their_bits(self, run):
        without, control = run("without"), run("control", **{"forecast.control": True})
        run_forecast(without)
        run_forecast(control)
        got = stored(control)
        assert got["number"].values.tolist() == [0, 1, 2]
        assert same_bits(got.isel(number=slice(1, None)), stored(without))
        assert not np.array_equal(got["2m_temperature"][:, 0], got["2m_temperature"][:, 1])

    def test_the_store_names_it_and_scores_leave_it_out(self, run):
        config = run(**{"forecast.control": True})
        run_forecast(config)
        store = open_forecast(str(config.forecast_store))
        assert (store.control, store.members, store.perturbed().numbers.tolist()) == (0, 3, [1, 2])

    def test_a_store_without_one_names_none(self, run):
        config = run()
        run_forecast(config)
        assert "control_member" not in stored(config).attrs

    def test_exported_it_is_the_control_forecast(self, run, tmp_path):
        eccodes = pytest.importorskip("eccodes")
        config = run(**{"forecast.control": True})
        run_forecast(config)
        (file, *_) = run_export(str(config.forecast_store), tmp_path / "out", Format.GRIB, Wanted(channels=("t2m",)))
        kinds = set()
        with file.open("rb") as source:
            while (message := eccodes.codes_grib_new_from_file(source)) is not None:
                kinds.add((eccodes.codes_get(message, "dataType"), eccodes.codes_get(message, "number")))
                eccodes.codes_release(message)
        assert kinds == {("cf", 0), ("pf", 1), ("pf", 2)}


class TestFailures:
    """A model whose temperature changes wildly."""

    @pytest.fixture
    def unstable(self, run):
        def make(name="run", **changes):
            config = run(name, **{"forecast.members": 6, "forecast.steps": 4, **changes})
            folder = RunPaths(config.run.folder).model
            model = load_checkpoint(folder).model
            with torch.no_grad():
                model.increment_std[config.model.channels.index("t2m")] = 500.0
            save_checkpoint(folder, model, 6, {})
            return config

        return make

    @staticmethod
    def made(config):
        run_forecast(config)
        return stored(config)

    def test_the_others_go_on_and_the_command_tells(self, unstable, tmp_path):
        whole = self.made(unstable("free", **{"forecast.guard_factor": "off"}))
        # The limits of t2m are 170 K and 340 K: here is how wide they must be for each member.
        needed = np.abs(whole["2m_temperature"][0] - 255).max(("prediction_timedelta", "latitude", "longitude")) / 85
        factor = float(needed.median())
        bad = needed.values > factor
        assert factor > 1
        assert 0 < bad.sum() < 6
        config = unstable(**{"forecast.guard_factor": factor, "forecast.on_failure": "continue"})
        settings = write_settings(config, tmp_path / "run.yaml")
        messages = []
        for _ in range(2):
            # The second time nothing is made, and nothing forgotten.
            result = CliRunner().invoke(app, ["forecast", str(settings)])
            assert isinstance(result.exception, UserError)
            messages.append(str(result.exception))
        assert messages[0] == messages[1]
        assert messages[0].startswith(f"{bad.sum()} members were given up")
        got = stored(config)
        for number in range(6):
            named = f"member {number} of the forecast from 2018-01-02T00:00: t2m is " in messages[0]
            assert named == bad[number]
            if not bad[number]:
                assert same_bits(got.sel(number=number), whole.sel(number=number))
            else:
                t2m = got["2m_temperature"].sel(number=number).isel(time=0)
                missing = t2m.isnull().any(("latitude", "longitude")).values
                assert missing[-1]
                # From one lead time on, and whole fields.
                assert np.array_equal(missing, np.maximum.accumulate(missing))
                assert np.array_equal(missing, t2m.isnull().all(("latitude", "longitude")).values)

    def test_by_default_the_first_failure_ends_the_run_and_nothing_is_complete(self, unstable):
        config = unstable(**{"forecast.guard_factor": 1.0})
        with pytest.raises(UserError, match=r"member \d of .* t2m is .* K at lead time \d+ h, .*plausible"):
            run_forecast(config)
        with pytest.raises(StoreError, match="holds no complete init time"):
            open_forecast(str(config.forecast_store)).whole()

    def test_a_run_that_stopped_goes_on_when_failures_are_allowed(self, unstable):
        with pytest.raises(UserError):
            run_forecast(unstable(**{"forecast.guard_factor": 1.0}))
        config = unstable(**{"forecast.guard_factor": 1.0, "forecast.on_failure": "continue"})
        assert run_forecast(config).failed
