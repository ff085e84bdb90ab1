"""Where a forecast starts: archives and files of today, and only the channels that the network sees."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from makers import CHANNELS, analysis_dataset, times, write_store
from tiny_run import new_run, randomize, tiny_values, write_settings
from typer.testing import CliRunner

from fuxi_ens.checkpoint import save_checkpoint
from fuxi_ens.config import Config, load_config
from fuxi_ens.data.era5 import open_configured
from fuxi_ens.errors import ConfigError, StoreError
from fuxi_ens.export.run import Format, export
from fuxi_ens.export.source import Wanted
from fuxi_ens.forecast.ensemble import run_forecast
from fuxi_ens.forecast.initial import open_initial_conditions, resolved
from fuxi_ens.model import build_model
from fuxi_ens.paths import RunPaths
from fuxi_ens.stores import open_store
from pipelines.__main__ import app

REAL = Path(__file__).parents[1] / "data" / "real"
INIT_TIME = np.datetime64("2018-01-02T00", "ns")
CDS = {
    "geopotential": "z", "temperature": "t", "specific_humidity": "q", "2m_temperature": "t2m",
    "sea_surface_temperature": "sst", "10m_u_component_of_wind": "u10", "10m_v_component_of_wind": "v10",
    "mean_sea_level_pressure": "msl",
}  # fmt: skip


def save_network(config, size=0.05):
    """A network with random weights, standardized for temperatures."""
    model = randomize(build_model(config.model, posterior=False), size=size)
    with torch.no_grad():
        model.mean.fill_(260.0)
        model.std.fill_(20.0)
        model.increment_std.fill_(1.0)
    save_checkpoint(RunPaths(config.run.folder).model, model, 6, {})


def stored(config):
    with xr.open_zarr(RunPaths(config.run.folder).forecast, chunks=None, decode_timedelta=True) as dataset:
        return dataset.load()


class TestInputs:
    @pytest.fixture
    def config(self, world, tmp_path):
        return new_run(world, tmp_path / "run", {"model.output": "increment"})

    def test_histories_are_those_of_the_analysis_with_zeros_for_accumulations(self, config):
        got = open_initial_conditions(config).history(INIT_TIME)
        expected = open_configured(config).read(np.array([INIT_TIME - np.timedelta64(6, "h"), INIT_TIME]))
        column = CHANNELS.index("tp")
        assert np.abs(expected[:, column]).max() > 0
        expected[:, column] = 0
        assert np.array_equal(got, expected, equal_nan=True)

    def test_an_analysis_without_accumulations_gives_the_same_forecast(self, config, world, tmp_path):
        save_network(config)
        run_forecast(config)
        bare = analysis_dataset(tuple(c for c in CHANNELS if c != "tp"), times("2018-01-01", "2018-01-03"))
        store = write_store(bare, tmp_path / "bare.zarr")
        other = new_run(world, tmp_path / "other", {"model.output": "increment", "forecast.store": store})
        shutil.copytree(RunPaths(config.run.folder).model, RunPaths(other.run.folder).model)
        run_forecast(other)
        assert "total_precipitation_6hr" in stored(other)
        for name, array in stored(config).data_vars.items():
            assert array.values.tobytes() == stored(other)[name].values.tobytes()

    def test_all_absent_channels_are_named_with_the_remedy(self, world, tmp_path):
        store = write_store(analysis_dataset(("z500", "t850", "t2m", "tp")), tmp_path / "few.zarr")
        config = new_run(world, tmp_path / "run", {"forecast.store": store})
        with pytest.raises(StoreError) as error:
            open_initial_conditions(config)
        message = str(error.value)
        assert (
            "of 9 input channels it lacks 5: q850 (specific_humidity), sst (sea_surface_temperature), u10m (" in message
        )
        assert "tp" not in message.split("; it has")[0]
        assert "set forecast.store to an analysis that has them; accumulations are not needed" in message

    def test_another_grid_is_named_as_such(self, world, tmp_path):
        store = write_store(analysis_dataset(height=16, width=32), tmp_path / "fine.zarr")
        with pytest.raises(StoreError, match="regrid the store"):
            open_initial_conditions(new_run(world, tmp_path / "run", {"forecast.store": store}))


class TestFiles:
    """Real-time sources on disk."""

    @pytest.fixture
    def ifs(self, world, tmp_path):
        """Settings for a network of two temperatures and precipitation on the grid of the IFS excerpt."""

        def make(source, **changes):
            period = {"start": "2024-06-01", "end": "2024-06-30"}
            values = tiny_values(world, tmp_path / "run", {
                "model.channels": ["t500", "t850", "tp"], "model.height": 19, "model.width": 36, "model.window": 3,
                "model.output": "increment", "data.test": [period], "verify.channels": ["t850"], "report": None,
                "forecast.channels": ["t500", "t850", "tp"], "forecast.store": str(source),
                "forecast.init_times": ["2024-06-03T06:00", "2024-06-04T18:00"], **changes,
            })  # fmt: skip
            return Config.model_validate(values)

        return make

    def test_a_forecast_from_grib_of_the_ifs(self, ifs):
        pytest.importorskip("cfgrib")
        config = ifs(REAL / "ifs.grib")
        save_network(config, size=0.02)
        run_forecast(config)
        got, analysis = stored(config), open_store(str(REAL / "ifs.grib")).dataset["temperature"]
        assert got["time"].values.astype("datetime64[h]").astype(str).tolist() == ["2024-06-03T06", "2024-06-04T18"]
        assert got["temperature"].notnull().all()
        for row in range(2):
            start = analysis.sel(time=got["time"][row], level=[500, 850]).transpose("level", ...).values
            first = got["temperature"].isel(time=row, prediction_timedelta=0)
            # Increments are small beside the 90 K between pole and tropics: the fields are where they belong.
            assert np.abs(first - start).max() < 10
            assert np.corrcoef(first[0].values.ravel(), start.ravel())[0, 1] > 0.99

    @pytest.mark.parametrize("number", [0, 2])
    def test_grib_in_and_grib_out(self, ifs, tmp_path, number):
        eccodes = pytest.importorskip("eccodes")
        config = ifs(REAL / "ifs.grib", **{"forecast.init_times": ["2024-06-03T06:00"], "forecast.control": True})
        save_network(config, size=0.02)
        run_forecast(config)
        wanted = Wanted(members=[number], channels=("t850",))
        (path,) = export(str(RunPaths(config.run.folder).forecast), tmp_path / "out", Format.GRIB, wanted)
        expected = stored(config)["temperature"].sel(number=number, level=850).isel(time=0)
        found = []
        with path.open("rb") as file:
            while (message := eccodes.codes_grib_new_from_file(file)) is not None:
                keys = {key: eccodes.codes_get(message, key) for key in ("dataDate", "dataTime", "number", "endStep")}
                values = eccodes.codes_get_values(message).reshape(19, 36)
                assert eccodes.codes_get(message, "dataType") == ("pf" if number else "cf")
                eccodes.codes_release(message)
                assert (keys["dataDate"], keys["dataTime"], keys["number"]) == (20240603, 600, number)
                field = expected.sel(prediction_timedelta=np.timedelta64(int(keys["endStep"]), "h"))
                np.testing.assert_allclose(values, field.transpose("latitude", "longitude"), rtol=0, atol=0.0051)
                found.append(int(keys["endStep"]))
        assert found == [6 * (i + 1) for i in range(config.forecast.steps)]

    def test_the_newest_time_of_files_that_match_a_pattern(self, ifs, tmp_path):
        eccodes = pytest.importorskip("eccodes")
        for number in range(4):
            with (REAL / "ifs.grib").open("rb") as source, (tmp_path / f"ifs_{number}.grib").open("wb") as target:
                while (message := eccodes.codes_grib_new_from_file(source)) is not None:
                    cycle = eccodes.codes_get(message, "dataDate") * 2 + eccodes.codes_get(message, "dataTime") // 1200
                    if cycle - 2 * 20240603 == number:
                        eccodes.codes_write(message, target)
                    eccodes.codes_release(message)
        config = ifs(tmp_path / "ifs_*.grib", **{"forecast.init_times": "latest"})
        assert resolved(config).forecast.init_times.times.tolist() == [np.datetime64("2024-06-04T18", "ns").astype(int)]
        (tmp_path / "ifs_3.grib").unlink()
        assert open_initial_conditions(config).latest() == np.datetime64("2024-06-04T06", "ns")

    @pytest.mark.parametrize(("hours", "told"), [(0, False), (12, False), (72, True)])
    def test_steps_that_are_no_analyses_are_told(self, ifs, tmp_path, caplog, hours, told):
        eccodes = pytest.importorskip("eccodes")
        with (REAL / "ifs.grib").open("rb") as source, (tmp_path / "late.grib").open("wb") as target:
            while (message := eccodes.codes_grib_new_from_file(source)) is not None:
                eccodes.codes_set(message, "step", eccodes.codes_get(message, "step") + hours)
                eccodes.codes_write(message, target)
                eccodes.codes_release(message)
        open_initial_conditions(ifs(tmp_path / "late.grib"))
        assert (f"holds forecasts of up to {hours + 6} h" in caplog.text) == told
        assert ("read as if they were analyses" in caplog.text) == told

    def test_channels_that_the_files_lack_are_named(self, ifs):
        pytest.importorskip("cfgrib")
        channels = ["z500", "t500", "t850", "msl", "tp"]
        with pytest.raises(StoreError, match=r"of 4 input channels it lacks 2: z500 \(geopotential\), msl \(mean_sea_"):
            open_initial_conditions(ifs(REAL / "ifs.grib", **{"model.channels": channels}))

    def test_packed_netcdf_in_the_names_of_the_climate_data_store(self, world, tmp_path):
        inputs = tuple(name for name in CHANNELS if name != "tp")
        truth = analysis_dataset(inputs, times("2018-01-01", "2018-01-03"), static=False)
        dataset = truth.rename(CDS | {"time": "valid_time", "level": "pressure_level"})
        dataset = dataset.assign_coords(longitude=(dataset["longitude"] + 180) % 360 - 180).sortby("longitude")
        levels = [name for name in dataset.data_vars if "pressure_level" in dataset[name].dims]
        packing = {"dtype": "int16", "_FillValue": np.int16(-32767)}
        for part, names in (("pl", levels), ("sfc", [n for n in dataset.data_vars if n not in levels])):
            encoding = {}
            for name in names:
                low, high = float(dataset[name].min()), float(dataset[name].max())
                encoding[name] = {**packing, "scale_factor": (high - low) / 65000, "add_offset": (high + low) / 2}
            dataset[names].to_netcdf(tmp_path / f"era5_{part}.nc", engine="h5netcdf", encoding=encoding)
        config = new_run(world, tmp_path / "run", {"forecast.store": str(tmp_path / "era5_*.nc")})
        got = open_initial_conditions(config).history(INIT_TIME)
        expected = open_initial_conditions(new_run(world, tmp_path / "other")).history(INIT_TIME)
        for name, ours, theirs in zip(CHANNELS, got.swapaxes(0, 1), expected.swapaxes(0, 1), strict=True):
            # Half a step of the packing.
            atol = (np.nanmax(theirs) - np.nanmin(theirs)) / 60000 + 1e-6
            np.testing.assert_allclose(ours, theirs, atol=max(atol, 1e-5), rtol=1e-4, err_msg=name)


class TestLatest:
    @pytest.fixture
    def config(self, world, tmp_path):
        def make(when, **changes):
            store = write_store(analysis_dataset(when=np.array(when, "datetime64[ns]")), tmp_path / "today.zarr")
            return new_run(
                world, tmp_path / "run", {"forecast.init_times": "latest", "forecast.store": store, **changes}
            )

        return make

    @pytest.mark.parametrize(
        ("when", "expected"),
        [
            (["2020-01-01T00", "2020-01-01T06"], "2020-01-01T06"),
            (["2020-01-01T00", "2020-01-01T06", "2020-01-01T18"], "2020-01-01T06"),
            (["2020-01-01T00", "2020-01-01T06", "2020-01-01T12", "2020-01-01T15"], "2020-01-01T12"),
        ],
    )
    def test_it_is_the_newest_time_with_its_whole_history(self, config, when, expected):
        times_of = resolved(config(when)).forecast.init_times.times
        assert times_of.tolist() == np.array([expected], "datetime64[ns]").tolist()

    @pytest.mark.parametrize("when", [["2020-01-01T00"], ["2020-01-01T00", "2020-01-01T12"], ["2020-01-01T01"]])
    def test_without_a_whole_history_there_is_none(self, config, when):
        with pytest.raises(StoreError, match=r"holds no two analyses that are 6 h apart, .* it (covers|is empty)"):
            resolved(config(when))

    def test_it_need_not_lie_in_the_test_period_but_never_in_what_was_trained_on(self, config):
        assert resolved(config(["2031-01-01T00", "2031-01-01T06"])).forecast.init_times.times.size == 1
        with pytest.raises(ValueError, match=r"data.train .* overlaps the scored times"):
            resolved(config(["2016-01-02T00", "2016-01-02T06"]))

    def test_a_config_with_dates_stays_as_it_is(self, world, tmp_path):
        config = new_run(world, tmp_path / "run")
        assert resolved(config) is config

    def test_whoever_needs_the_dates_is_told(self, config):
        with pytest.raises(ConfigError, match=r"`latest`, which only a forecast can resolve; give the dates"):
            _ = config(["2020-01-01T00", "2020-01-01T06"]).forecast.init_times.times

    def test_the_command_makes_it_into_a_store_of_its_own(self, config, tmp_path):
        dates = config(["2020-01-01T00", "2020-01-01T06"], **{"model.output": "increment"})
        save_network(dates)
        settings = write_settings(dates, tmp_path / "run.yaml")
        for _ in range(2):
            result = CliRunner().invoke(app, ["forecast", str(settings), "--init", "latest"])
            assert result.exit_code == 0, result.output
        with xr.open_zarr(tmp_path / "run" / "forecast_2020-01-01T06.zarr", decode_timedelta=True) as dataset:
            assert dataset["2m_temperature"].notnull().all()
            assert dataset.sizes["time"] == 1

    def test_other_commands_take_the_same_time(self, config, tmp_path):
        dates = config(["2020-01-01T00", "2020-01-01T06"], **{"model.output": "increment"})
        save_network(dates)
        settings = str(write_settings(dates, tmp_path / "run.yaml"))
        call("forecast", settings)
        call("export", settings, "--format", "netcdf", "--out", tmp_path / "nc", "--channels", "t2m")
        assert [path.name for path in (tmp_path / "nc").glob("*.nc")] == ["2020-01-01T0600.nc"]
        call("plot", "map", settings, "--channel", "t2m", "--lead", "6", "--out", tmp_path / "map.png", "--dpi", "30")
        assert (tmp_path / "map.png").exists()

    @pytest.mark.parametrize("command", [["plot", "map"], ["export", "--format", "netcdf", "--out", "nc"], ["verify"]])
    def test_a_newest_time_without_a_forecast_is_named(self, config, tmp_path, monkeypatch, command):
        monkeypatch.chdir(tmp_path)
        settings = write_settings(config(["2020-01-01T00", "2020-01-01T06"]), tmp_path / "run.yaml")
        result = CliRunner().invoke(app, [*command, str(settings)])
        assert isinstance(result.exception, StoreError)
        assert "forecast_2020-01-01T06.zarr" in str(result.exception)

    def test_an_override_keeps_it(self, config, world, tmp_path):
        first = config(["2020-01-01T00", "2020-01-01T06"])
        fixed = resolved(first).forecast.init_times.fixed
        settings = write_settings(first, tmp_path / "run.yaml")
        assert load_config(settings, list(fixed)) == resolved(first)
        assert first.forecast.init_times.fixed == ()
        assert new_run(world, tmp_path / "dates").forecast.init_times.fixed == ()


def call(*words):
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
