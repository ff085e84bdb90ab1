import builtins

import pytest
import xarray as xr
from makers import make_analysis, times

from fuxi_ens.assets import PREFIX, config_file, resolve
from fuxi_ens.errors import StoreError, UserError
from fuxi_ens.stores import open_zarr


def test_a_store_opens_without_reading_or_dask(tmp_path):
    make_analysis(tmp_path / "a.zarr", when=times("2018-01-01", "2018-01-02"))
    dataset = open_zarr(str(tmp_path / "a.zarr"))
    assert dataset.chunks == {}
    assert open_zarr(str(tmp_path / "a.zarr"), dask=True).chunks != {}


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_plain_store_opens_without_a_warning(tmp_path, zarr_format):
    make_analysis(tmp_path / "a.zarr", zarr_format=zarr_format)
    open_zarr(str(tmp_path / "a.zarr"))


def test_lead_times_are_decoded_as_spans(tmp_path):
    xr.Dataset({"x": ("prediction_timedelta", [1.0, 2.0])}, {"prediction_timedelta": [6, 12]}).assign_coords(
        prediction_timedelta=("prediction_timedelta", [6, 12], {"units": "hours"})
    ).to_zarr(tmp_path / "a.zarr", zarr_format=2)
    assert open_zarr(str(tmp_path / "a.zarr"))["prediction_timedelta"].dtype.kind == "m"


@pytest.mark.parametrize("store", ["/nowhere/a.zarr", "relative/a.zarr", ""])
def test_a_store_that_is_not_there_is_one_clear_error(store):
    with pytest.raises(StoreError, match=f"cannot open {store} as a Zarr store.*check the path"):
        open_zarr(store)


def test_a_cloud_store_without_its_library_names_the_extra(monkeypatch):
    original = builtins.__import__

    def blocked(name, *args, **kwargs):
        if name.split(".")[0] in {"gcsfs", "s3fs", "aiohttp"}:
            raise ImportError(f"No module named {name!r}")
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", blocked)
    with pytest.raises(StoreError, match=r"pip install 'fuxi-ens\[cloud\]'"):
        open_zarr("gs://bucket/store.zarr")


def test_a_missing_time_unit_is_a_store_error(tmp_path):
    data = xr.Dataset({"x": ("time", [1.0])}, {"time": ("time", [3], {"units": "fortnights since yesterday"})})
    data.to_zarr(tmp_path / "a.zarr", zarr_format=2)
    with pytest.raises(StoreError):
        open_zarr(str(tmp_path / "a.zarr"))


class TestAssets:
    def test_other_paths_pass_unchanged(self):
        for store in ("/a/b.zarr", "gs://bucket/x", "assets:not", ""):
            assert resolve(store) == store

    def test_the_shipped_stores_are_there(self):
        for name in ("nature_run_64x32.zarr", "physics_ens_64x32.zarr"):
            assert open_zarr(f"{PREFIX}nature_run/{name}").sizes["longitude"] == 64

    def test_an_asset_that_does_not_ship_is_refused(self):
        with pytest.raises(StoreError, match="asset:nowhere is not shipped"):
            resolve("asset:nowhere")

    def test_run_files_are_found_by_name(self):
        assert config_file("demo").name == "demo.yaml"
        with pytest.raises(UserError, match="no configuration 'nothing'"):
            config_file("nothing")
