import pytest

from fuxi_ens.assets import PREFIX, config_file, resolve
from fuxi_ens.errors import StoreError, UserError
from fuxi_ens.stores import open_store


def test_other_paths_pass_unchanged():
    for store in ("/a/b.zarr", "gs://bucket/x", "assets:not", ""):
        assert resolve(store) == store


def test_the_shipped_stores_are_there():
    for name in ("nature_run_64x32.zarr", "physics_ens_64x32.zarr"):
        assert open_store(f"{PREFIX}nature_run/{name}").dataset.sizes["longitude"] == 64


def test_an_asset_that_does_not_ship_is_refused():
    with pytest.raises(StoreError, match="asset:nowhere is not shipped"):
        resolve("asset:nowhere")
    with pytest.raises(StoreError, match="asset:nowhere is not shipped"):
        open_store("asset:nowhere")


def test_run_files_are_found_by_name():
    assert config_file("demo").name == "demo.yaml"
    with pytest.raises(UserError, match="no configuration 'nothing'"):
        config_file("nothing")
