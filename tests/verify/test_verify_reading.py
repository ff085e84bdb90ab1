"""Ensembles decoded straight into memory are those that xarray reads, for every layout of a store."""

from dataclasses import replace

import numpy as np
import pytest
from verify_world import hours, make_forecast, weatherbench_order

from fuxi_ens.errors import StoreError
from fuxi_ens.stores.ensembles import first_row
from fuxi_ens.verify.climate import FieldCache
from fuxi_ens.verify.open import open_forecast

INIT = np.datetime64("2019-01-10T12", "ns")
DIMS = ("time", "number", "prediction_timedelta", "level", "latitude", "longitude")


def chunks(time, number, lead, level, latitude=8, longitude=16):
    return dict(zip(DIMS, (time, number, lead, level, latitude, longitude), strict=True))


LAYOUTS = {
    "a chunk per member": chunks(1, 1, 1, 1),
    "a chunk of all members": chunks(1, 5, 1, 1),
    "blocks of members, the last incomplete": chunks(1, 2, 1, 1),
    "several times, leads and levels in a chunk": chunks(2, 2, 3, 2),
    "tiles": chunks(1, 5, 1, 1, 4, 8),
}


def store(tmp_path, rng, layout, order=None):
    data = make_forecast(rng, 5, hours(6, 12, 18, 24))
    data = data if order is None else order(data)
    for name, array in data.items():
        data[name].encoding = {"chunks": tuple(layout[dim] for dim in array.dims)}
    data["prediction_timedelta"].encoding = {"units": "hours", "dtype": "int64"}
    data.to_zarr(tmp_path / "f.zarr", zarr_format=2, consolidated=True)
    return open_forecast(str(tmp_path / "f.zarr"))


def assert_same(opened, name, direct):
    out = np.full((5, 8, 16), 7, np.float32)
    for lead in hours(6, 24):
        opened.ensemble_into(name, INIT, lead, out)
        expected = opened.ensemble(name, INIT, np.array([lead])).to_numpy()[0]
        np.testing.assert_array_equal(out, expected.astype(np.float32))
    reader = opened._reader("z500" if name == "z500" else "u10m")
    assert (reader is not None) == direct


@pytest.mark.parametrize("layout", list(LAYOUTS))
@pytest.mark.parametrize("name", ["z500", "ws10m"])
def test_every_chunking(tmp_path, rng, layout, name):
    assert_same(store(tmp_path, rng, LAYOUTS[layout]), name, direct=layout != "tiles")


@pytest.mark.parametrize("name", ["z500", "u10m"])
def test_fields_from_south_to_north_with_longitude_first(tmp_path, rng, name):
    opened = store(tmp_path, rng, LAYOUTS["several times, leads and levels in a chunk"], weatherbench_order)
    assert_same(opened, name, direct=True)


def test_longitudes_from_the_date_line(tmp_path, rng):
    def shifted(data):
        return data.assign_coords(longitude=(data["longitude"] + 180) % 360 - 180).sortby("longitude")

    assert_same(store(tmp_path, rng, LAYOUTS["a chunk per member"], shifted), "u10m", direct=True)


def test_positions_are_those_on_disk_where_init_times_are_left_out(tmp_path, rng):
    opened = store(tmp_path, rng, LAYOUTS["a chunk per member"])
    part = replace(opened, dataset=opened.dataset.isel(init_time=[1]))
    assert_same(part, "z500", direct=True)


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "tiles"])
@pytest.mark.parametrize(
    ("control", "direct"), [(0, True), (4, True), (2, False)], ids=["control first", "control last", "in between"]
)
def test_members_without_the_control_member(tmp_path, rng, layout, control, direct, monkeypatch):
    opened = store(tmp_path, rng, LAYOUTS[layout])
    opened = replace(opened, dataset=opened.dataset.assign_attrs(control_member=control))
    part = opened.perturbed()
    rows = [row for row in range(5) if row != control]
    everything = {name: opened.ensemble(name, INIT, hours(6, 24)).to_numpy()[:, rows] for name in ("z500", "ws10m")}
    if direct:
        monkeypatch.setattr(type(opened), "ensemble", None)  # the way through xarray
    for name, expected in everything.items():
        for field, lead in zip(expected, hours(6, 24), strict=True):
            out = np.full((4, 8, 16), 7, np.float32)
            part.ensemble_into(name, INIT, lead, out)
            np.testing.assert_array_equal(out, field.astype(np.float32))
    assert (first_row(part.dataset, part.opened.dataset) is not None) == direct


def test_some_members_of_a_store_without_numbers_are_those_chosen(tmp_path, rng):
    opened = store(tmp_path, rng, LAYOUTS["a chunk of all members"], lambda data: data.drop_vars("number"))
    part = replace(opened, dataset=opened.dataset.isel(number=slice(1, None)))
    expected = opened.ensemble("z500", INIT, hours(6)).to_numpy()[0, 1:]
    out = np.empty((4, 8, 16), np.float32)
    part.ensemble_into("z500", INIT, hours(6)[0], out)
    np.testing.assert_array_equal(out, expected.astype(np.float32))


def test_packed_integers(tmp_path, rng):
    packed = {"dtype": "int16", "scale_factor": 0.01, "add_offset": 2.0, "_FillValue": -32768}
    data = make_forecast(rng, 5, hours(6, 12, 18, 24))[["10m_u_component_of_wind", "10m_v_component_of_wind"]]
    data["10m_u_component_of_wind"][:, 1, :, 3, 5] = np.nan
    for array in data.values():
        array.encoding = {"chunks": (1, 5, 1, 8, 16), **packed}
    data["prediction_timedelta"].encoding = {"units": "hours", "dtype": "int64"}
    data.to_zarr(tmp_path / "p.zarr", zarr_format=2, consolidated=True)
    opened = open_forecast(str(tmp_path / "p.zarr"))
    out = np.empty((5, 8, 16), np.float32)
    opened.ensemble_into("u10m", INIT, hours(6)[0], out)
    # Packing is undone in float32 here, in float64 by xarray.
    expected = opened.ensemble("u10m", INIT, hours(6)).to_numpy()[0]
    np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-6)
    assert np.isnan(out).sum() == 1


def test_what_was_never_written_is_nan(tmp_path, rng):
    opened = store(tmp_path, rng, LAYOUTS["a chunk per member"])
    (tmp_path / "f.zarr" / "10m_u_component_of_wind" / "1.2.0.0.0").unlink()
    out = np.zeros((5, 8, 16), np.float32)
    opened.ensemble_into("u10m", INIT, hours(6)[0], out)
    assert np.isnan(out[2]).all()
    assert np.isfinite(out[[0, 1, 3, 4]]).all()


def test_a_damaged_chunk_is_named(tmp_path, rng):
    opened = store(tmp_path, rng, LAYOUTS["a chunk per member"])
    (tmp_path / "f.zarr" / "10m_u_component_of_wind" / "1.2.0.0.0").write_bytes(b"torn")
    with pytest.raises(StoreError, match=r"10m_u_component_of_wind/1.2.0.0.0 is damaged"):
        opened.ensemble_into("u10m", INIT, hours(6)[0], np.zeros((5, 8, 16), np.float32))


def test_memory_of_a_reader_is_known(tmp_path, rng):
    field = 5 * 8 * 16 * 4
    in_place = store(tmp_path / "a", rng, LAYOUTS["a chunk per member"])
    member = field // 5
    assert in_place.scratch_bytes(("z500",)) == member
    assert in_place.scratch_bytes(("z500", "ws10m")) == member + field
    several = store(tmp_path / "b", rng, LAYOUTS["several times, leads and levels in a chunk"])
    # As it is stored, and decoded.
    assert several.scratch_bytes(("z500",)) == 2 * (2 * 2 * 3 * 2 * 8 * 16 * 4)
    block = store(tmp_path / "c", rng, LAYOUTS["a chunk of all members"])
    for opened, needed in ((in_place, member), (block, 2 * field)):
        fewer = replace(opened, dataset=opened.dataset.isel(number=slice(1, None)))
        assert fewer.scratch_bytes(("z500",)) == needed


def test_fields_are_kept_up_to_a_bound_and_read_once():
    cache, reads = FieldCache(3 * 400), []

    def get(*keys):
        def read(absent):
            reads.extend(keys[i] for i in absent)
            return [np.full(100, keys[i], np.float32) for i in absent]

        return [float(field[0]) for field in cache.get_all(keys, read)]

    assert get(1, 2, 3) == [1, 2, 3]
    assert get(2, 1) == [2, 1]
    assert reads == [1, 2, 3]
    assert get(4, 1) == [4, 1]  # 3 was used least recently
    assert get(3) == [3]
    assert reads == [1, 2, 3, 4, 3]
    with pytest.raises(ValueError, match="read-only"):
        cache.get(1, lambda: np.zeros(1, np.float32))[0] = 0
