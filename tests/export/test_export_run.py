"""The export as a whole: what was asked for, what is there already, what is not finished; the command."""

import sys
import tracemalloc

import numpy as np
import pytest
import xarray as xr
from export_world import INIT_TIMES, LEADS
from makers import make_ensemble
from stored_forecast import write_frames

from fuxi_ens.errors import StoreError, UserError
from fuxi_ens.export import run
from fuxi_ens.export.run import Format, export
from fuxi_ens.export.source import Wanted
from fuxi_ens.forecast.layout import Layout
from fuxi_ens.forecast.store import ForecastStore
from fuxi_ens.grid import LatLonGrid
from pipelines.__main__ import main


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_part_of_the_store(ensemble, tmp_path):
    wanted = Wanted(INIT_TIMES[1:], members=[0, 2], lead_hours=[6, 18], channels=("t2m", "z500"))
    (path,) = export(ensemble[0], tmp_path, Format.NETCDF, wanted)
    with xr.open_dataset(path, decode_timedelta=True) as found:
        assert sorted(found.data_vars) == ["t2m", "z"]
        assert found["realization"].values.tolist() == [0, 2]
        assert found["pressure_level"].values.tolist() == [500]
        expected = ensemble[1]["2m_temperature"].isel(time=1, number=[0, 2], prediction_timedelta=[0, 2])
        order = ("number", "prediction_timedelta", "latitude", "longitude")
        np.testing.assert_array_equal(found["t2m"][0].values, expected.transpose(*order).values)


def test_one_file_per_variable(ensemble, tmp_path):
    export(ensemble[0], tmp_path, Format.NETCDF, Wanted(INIT_TIMES[:1], channels=("z500", "tp")), per_variable=True)
    assert names(tmp_path) == [
        "2018-01-01T0000_geopotential.nc",
        "2018-01-01T0000_total_precipitation_6hr.nc",
        "export.json",
    ]


def test_complete_files_are_left_alone_and_missing_ones_made(ensemble, tmp_path, monkeypatch):
    wanted = Wanted(channels=("t2m",))
    paths = export(ensemble[0], tmp_path, Format.NETCDF, wanted)
    before = paths[1].read_bytes()
    stamp = paths[0].stat().st_mtime_ns
    paths[1].unlink()
    assert export(ensemble[0], tmp_path, Format.NETCDF, wanted) == paths
    assert paths[0].stat().st_mtime_ns == stamp
    assert paths[1].read_bytes() == before


def test_an_export_that_breaks_off_leaves_no_half_file(ensemble, tmp_path, monkeypatch):
    from fuxi_ens.export.source import Source

    real, calls = Source.block, []

    def failing(self, *where):
        calls.append(where)
        if len(calls) == 3:
            raise OSError("the disk gave up")
        return real(self, *where)

    monkeypatch.setattr(Source, "block", failing)
    with pytest.raises(OSError, match="gave up"):
        export(ensemble[0], tmp_path, Format.GRIB, Wanted(channels=("t2m", "msl")))
    assert names(tmp_path) == ["export.json"]
    monkeypatch.undo()
    export(ensemble[0], tmp_path, Format.GRIB, Wanted(channels=("t2m", "msl")))
    assert names(tmp_path) == ["2018-01-01T0000.grib2", "2018-01-01T1200.grib2", "export.json"]


def test_two_different_exports_do_not_mix(ensemble, tmp_path):
    export(ensemble[0], tmp_path, Format.NETCDF, Wanted(INIT_TIMES[:1], channels=("t2m",)))
    with pytest.raises(UserError, match=r"holds an export with channels \['t2m'\], asked for is \['msl'\]"):
        export(ensemble[0], tmp_path, Format.NETCDF, Wanted(INIT_TIMES[:1], channels=("msl",)))
    with pytest.raises(UserError, match="holds an export with format netcdf"):
        export(ensemble[0], tmp_path, Format.GRIB, Wanted(INIT_TIMES[:1], channels=("t2m",)))
    export(ensemble[0], tmp_path, Format.NETCDF, Wanted(INIT_TIMES[1:], channels=("t2m",)))
    assert len(names(tmp_path)) == 3


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Wanted(members=[1, 7]), "no member 7; it has 3, from 0 to 2"),
        (Wanted(lead_hours=[6, 7]), "no lead time of 7 h; it has 6, 12, 18"),
        (Wanted(init_times=np.array(["2019-01-01"], "M8[ns]")), "2019-01-01T00:00 is not in .* 2 init times"),
        (Wanted(channels=("t2n",)), "'t2n' is no channel"),
        (Wanted(channels=("t1000",)), "has no level 1000"),
        (Wanted(channels=("v10m",)), "has no 10m_v_component_of_wind"),
    ],
)
def test_what_the_store_lacks_is_refused_before_anything_is_written(ensemble, tmp_path, wanted, message):
    with pytest.raises(UserError, match=message):
        export(ensemble[0], tmp_path / "out", Format.NETCDF, wanted)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def unfinished(tmp_path):
    """A store of ours of two init times, the first of which is finished; t only at 850 hPa, z only at 500."""
    layout = Layout(INIT_TIMES, 2, LEADS, ("z500", "t850", "t2m"), LatLonGrid(8, 16), 2)
    store = ForecastStore(tmp_path / "ours.zarr", layout, {"weights_hash": "w", "config_hash": "c"})
    write_frames(store, INIT_TIMES[0], 0, np.ones((2, len(LEADS), 3, 8, 16), np.float32))
    store.finish(INIT_TIMES[0], range(2))
    return str(tmp_path / "ours.zarr")


def test_unfinished_init_times_are_left_out_and_told(unfinished, tmp_path, caplog):
    (path,) = export(unfinished, tmp_path / "out", Format.NETCDF, Wanted())
    assert path.name == "2018-01-01T0000.nc"
    assert "1 of 2 init times are not finished" in caplog.text


def test_an_unfinished_init_time_by_name_is_refused(unfinished, tmp_path):
    with pytest.raises(StoreError, match="2018-01-01T12:00 is not finished"):
        export(unfinished, tmp_path / "out", Format.NETCDF, Wanted(init_times=INIT_TIMES))
    assert not (tmp_path / "out").exists()


def test_only_levels_with_values_are_exported(unfinished, tmp_path):
    export(unfinished, tmp_path / "out", Format.GRIB, Wanted())
    assert '"z500",\n  "t850",\n  "t2m"' in (tmp_path / "out" / run.MANIFEST).read_text()


@pytest.mark.parametrize("file_format", Format)
def test_memory_is_one_lead_time_of_one_variable(tmp_path, file_format):
    leads = np.arange(1, 25) * np.timedelta64(6, "h")
    size = {"height": 128, "width": 256}
    make_ensemble(
        tmp_path / "a", channels=("t2m", "msl"), init_times=INIT_TIMES[:1], lead_times=leads, members=4, **size
    )
    with xr.open_zarr(tmp_path / "a") as whole:
        chunks = dict.fromkeys(whole.dims, -1) | {"prediction_timedelta": 1}
        whole.drop_encoding().chunk(chunks).to_zarr(tmp_path / "f.zarr", zarr_format=2)
    block = 4 * 128 * 256 * 4
    export(str(tmp_path / "f.zarr"), tmp_path / "warm", file_format, Wanted(lead_hours=[6]))
    tracemalloc.start()
    try:
        export(str(tmp_path / "f.zarr"), tmp_path / "out", file_format, Wanted())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * block, f"{peak / block:.1f} blocks; the variable has 24"


class TestCommand:
    @pytest.fixture
    def cli(self, monkeypatch, capsys):
        def call(*arguments):
            monkeypatch.setattr(sys, "argv", ["fuxi-ens", *map(str, arguments)])
            with pytest.raises(SystemExit) as stopped:
                main()
            return stopped.value.code or 0, capsys.readouterr().err

        return call

    def test_from_a_store(self, cli, ensemble, tmp_path):
        code, _ = cli(
            "export", ensemble[0], "--format", "grib", "--init", "2018-01-01T12:00:00", "--channels", "z500, t2m",
            "--members", "0-1", "--leads", "6-18/12", "--out", tmp_path,
        )  # fmt: skip
        assert code == 0
        assert names(tmp_path) == ["2018-01-01T1200.grib2", "export.json"]
        assert '"lead_hours": [\n  6.0,\n  18.0\n ]' in (tmp_path / "export.json").read_text()

    def test_a_mistake_is_told_in_one_line(self, cli, ensemble, tmp_path):
        code, err = cli("export", ensemble[0], "--format", "netcdf", "--members", "x", "--out", tmp_path)
        assert code == 1
        assert "error: --members 'x'" in err

    def test_overrides_need_a_run_file(self, cli, ensemble, tmp_path):
        code, _ = cli("export", ensemble[0], "--format", "netcdf", "--set", "run.seed=1", "--out", tmp_path)
        assert code == 2
