import numpy as np
import pytest
import xarray as xr
from makers import land, static_dataset

from fuxi_ens.channels import STATIC_LAND_SEA_MASK, STATIC_OROGRAPHY
from fuxi_ens.data.static import static_fields
from fuxi_ens.errors import StoreError
from fuxi_ens.grid import LatLonGrid, area_weights

GRID = LatLonGrid(8, 16)


@pytest.fixture
def store(tmp_path):
    def write(change=lambda dataset: dataset):
        change(static_dataset(GRID)).to_zarr(tmp_path / "static.zarr", zarr_format=2)
        return str(tmp_path / "static.zarr")

    return write


def test_the_six_fields_are_orography_mask_and_place(store):
    fields = static_fields(store(), GRID)
    assert fields.shape == (6, 8, 16)
    assert fields.dtype == np.float32
    weights = area_weights(GRID.latitude)[:, None]
    assert np.mean(fields[0] * weights) == pytest.approx(0.0, abs=1e-6)
    assert np.mean(fields[0] ** 2 * weights) == pytest.approx(1.0, rel=1e-5)
    raw = static_dataset(GRID)[STATIC_OROGRAPHY].values
    assert np.corrcoef(fields[0].ravel(), raw.ravel())[0, 1] == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_array_equal(fields[1], land(GRID))
    rows, columns = np.radians(GRID.latitude), np.radians(GRID.longitude)
    for field, wanted in zip(
        fields[2:],
        (np.sin(rows)[:, None], np.cos(rows)[:, None], np.sin(columns)[None], np.cos(columns)[None]),
        strict=True,
    ):
        np.testing.assert_allclose(field, np.broadcast_to(wanted, field.shape), atol=1e-7)


def test_the_place_is_seamless_around_the_globe(store):
    east = static_fields(store(), GRID)[4:]
    step = np.linalg.norm(np.diff(east, axis=2), axis=0)
    seam = np.linalg.norm(east[:, :, 0] - east[:, :, -1], axis=0)
    np.testing.assert_allclose(seam, step[:, 0], rtol=1e-5)


def test_orientation_and_order_of_dimensions_do_not_matter(store, tmp_path):
    turned = static_dataset(GRID).isel(latitude=slice(None, None, -1)).transpose("longitude", "latitude")
    turned.to_zarr(tmp_path / "turned.zarr", zarr_format=2)
    np.testing.assert_array_equal(static_fields(str(tmp_path / "turned.zarr"), GRID), static_fields(store(), GRID))


def test_a_field_with_times_is_that_of_any_time(store):
    stacked = static_fields(store(lambda d: xr.concat([d, d], "time").assign_coords(time=[0, 1])), GRID)
    assert np.isfinite(stacked).all()


@pytest.mark.parametrize("name", [STATIC_OROGRAPHY, STATIC_LAND_SEA_MASK])
def test_a_missing_field_is_named_with_the_remedy(store, name):
    with pytest.raises(StoreError, match=f"lacks the static field '{name}'.*data.static_store"):
        static_fields(store(lambda d: d.drop_vars(name)), GRID)


def test_another_grid_is_refused(store):
    with pytest.raises(StoreError, match="32x64"):
        static_fields(store(), LatLonGrid(32, 64))


def first_time_empty(dataset):
    # As in ARCO-ERA5, whose time axis starts decades before its data.
    return xr.concat([dataset * np.nan, dataset], "time").assign_coords(time=[0, 1])


@pytest.mark.parametrize("change", [first_time_empty, lambda d: d * np.nan, lambda d: d * 0.0])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_static_fields_are_finite_or_refused(store, change):
    try:
        fields = static_fields(store(change), GRID)
    except StoreError:
        return
    assert np.isfinite(fields).all()


def test_a_store_without_latitude_is_refused(store):
    with pytest.raises(StoreError, match="latitude"):
        static_fields(store(lambda d: d.rename(latitude="y")), GRID)
