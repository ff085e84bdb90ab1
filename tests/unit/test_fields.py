"""Fields by channel and position: the same numbers whatever the layout, the threads, and the way they are asked for."""

import threading

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from makers import analysis_dataset, instant, land, make_analysis, six_hour_sum, times, write_store
from servers import serve

from fuxi_ens.channels import channel
from fuxi_ens.errors import StoreError
from fuxi_ens.grid import LatLonGrid
from fuxi_ens.stores import Fields, open_store, remote
from fuxi_ens.stores import placed as placed_module

GRID = LatLonGrid(8, 16)
WHEN = times("2018-01-01", "2018-01-03")
NAMES = ("z500", "z850", "q850", "t2m", "sst", "tp")


def truth(names, when, *, model_units=True):
    fields = []
    for name in names:
        variable = channel(name).variable
        values = (six_hour_sum if variable.accumulated else instant)(name, when, GRID)
        values = values * (variable.to_model if model_units else 1.0)
        fields.append(np.where(land(GRID), np.nan, values) if name == "sst" else values)
    return np.stack(fields, axis=1)


def assert_close(got, expected):
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    scale = np.nanmax(np.abs(expected), axis=(0, 2, 3), keepdims=True)
    np.testing.assert_allclose(got / scale, expected / scale, atol=3e-7)


LAYOUTS = st.fixed_dictionaries(
    {
        "chunks": st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(3, 8), st.integers(5, 16)),
        "order": st.permutations(["time", "level", "latitude", "longitude"]),
        "ascending": st.booleans(),
        "west": st.booleans(),
        "packed": st.booleans(),
        "zarr_format": st.sampled_from([2, 3]),
    }
)


def write_layout(path, layout):
    """The store, written by xarray in the layout drawn."""
    dataset = analysis_dataset(NAMES, WHEN)
    if layout["west"]:
        dataset = dataset.assign_coords(longitude=(dataset.longitude + 180.0) % 360.0 - 180.0).sortby("longitude")
    if layout["ascending"]:
        dataset = dataset.sortby("latitude")
    dataset = dataset.transpose(*layout["order"])
    size = dict(zip(("time", "level", "latitude", "longitude"), layout["chunks"], strict=True))
    encoding = {}
    for name, array in dataset.data_vars.items():
        encoding[name] = {"chunks": tuple(min(size[d], array.sizes[d]) for d in array.dims)}
        if layout["packed"] and name == "2m_temperature":
            encoding[name] |= {"dtype": "i2", "scale_factor": 0.002, "add_offset": 290.0, "_FillValue": -32767}
    dataset.to_zarr(path, encoding=encoding, zarr_format=layout["zarr_format"], consolidated=False)


@settings(max_examples=40, deadline=None)
@given(LAYOUTS, st.lists(st.integers(0, 8), min_size=1, max_size=6))
@pytest.mark.filterwarnings("ignore:Failed to open Zarr store with consolidated metadata:RuntimeWarning")
def test_fields_do_not_depend_on_the_layout(tmp_path_factory, layout, positions):
    path = tmp_path_factory.mktemp("layout") / "a.zarr"
    write_layout(path, layout)
    fields = Fields(open_store(str(path)), NAMES, threads=2)
    expected = truth(NAMES, WHEN[positions])
    got = fields.read(positions)
    if layout["packed"]:
        np.testing.assert_allclose(got[:, 3], expected[:, 3], atol=0.0011)
        got[:, 3] = expected[:, 3]
    assert_close(got, expected)


def test_file_units(tmp_path):
    make_analysis(tmp_path / "a.zarr", channels=NAMES, when=WHEN)
    fields = Fields(open_store(str(tmp_path / "a.zarr")), NAMES, model_units=False)
    assert_close(fields.read([4, 0]), truth(NAMES, WHEN[[4, 0]], model_units=False))


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_bits_do_not_depend_on_threads_or_company(tmp_path, threads):
    make_analysis(tmp_path / "a.zarr", channels=NAMES, when=times("2018-01-01", "2018-01-03", 1), hourly=True)
    store = open_store(str(tmp_path / "a.zarr"))
    whole = Fields(store, NAMES, threads=1).read(range(5, 40))
    fields = Fields(store, NAMES, threads=threads)
    np.testing.assert_array_equal(fields.read([30, 7, 7]), whole[[25, 2, 2]])
    np.testing.assert_array_equal(Fields(store, ("tp",), threads=threads).read([9])[:, 0], whole[4:5, -1])


def test_zeros_are_values_whatever_the_fill_value(tmp_path):
    dataset = analysis_dataset(("t2m", "tp"), WHEN)
    dataset["total_precipitation_6hr"][2:4] = 0.0
    write_store(dataset, tmp_path / "a.zarr", zarr_format=2)
    array = zarr.open_array(tmp_path / "a.zarr" / "total_precipitation_6hr", mode="r+")
    assert array.metadata.zarr_format == 2
    replace_fill_value(tmp_path / "a.zarr" / "total_precipitation_6hr", 0.0)
    fields = Fields(open_store(str(tmp_path / "a.zarr")), ("t2m", "tp"))
    np.testing.assert_array_equal(fields.read([2, 3])[:, 1], 0.0)


def replace_fill_value(folder, value):
    import json

    for metadata in (folder / ".zarray", folder.parent / ".zmetadata"):
        text = json.loads(metadata.read_text())
        place = text if metadata.name == ".zarray" else text["metadata"][f"{folder.name}/.zarray"]
        place["fill_value"] = value
        metadata.write_text(json.dumps(text))


def test_a_failure_is_retried_and_then_named(tmp_path, monkeypatch, caplog):
    make_analysis(tmp_path / "a.zarr", channels=("z500", "t2m"), when=WHEN)
    fields = Fields(open_store(str(tmp_path / "a.zarr")), ("z500", "t2m"))
    whole = fields.read([3])
    failures = {"left": 2}
    original = placed_module.ChunkReader.decode

    def unreliable(self, at, out):
        if "2m_temperature" in self.array.path and failures["left"]:
            failures["left"] -= 1
            raise OSError("connection reset")
        return original(self, at, out)

    monkeypatch.setattr(placed_module.ChunkReader, "decode", unreliable)
    np.testing.assert_array_equal(fields.read([3]), whole)
    assert [r.getMessage() for r in caplog.records if "attempt 2 of 3" in r.getMessage()]
    failures["left"] = 99
    with pytest.raises(StoreError) as caught:
        fields.read([3])
    for part in (str(tmp_path / "a.zarr"), "2m_temperature", "2018-01-01T18:00", "3 attempts", "connection reset"):
        assert part in str(caught.value)
    assert failures["left"] == 96


def test_after_an_error_nothing_writes_into_the_memory_any_more(tmp_path, monkeypatch):
    make_analysis(tmp_path / "a.zarr", channels=NAMES, when=WHEN)
    fields = Fields(open_store(str(tmp_path / "a.zarr")), NAMES, threads=2)
    original = placed_module.ChunkedSource._fill
    slow = threading.Event()

    def fill(self, at, targets):
        if self._name == "geopotential":
            raise StoreError("broken")
        slow.wait(0.2)
        original(self, at, targets)

    monkeypatch.setattr(placed_module.ChunkedSource, "_fill", fill)
    out = np.zeros((3, len(NAMES), 8, 16), np.float32)
    with pytest.raises(StoreError, match="broken"):
        fields.read_into([0, 1, 2], out)
    before = out.copy()
    slow.wait(0.3)
    np.testing.assert_array_equal(out, before)


def test_sizes_show_what_is_absent_or_empty(tmp_path):
    dataset = analysis_dataset(("z500", "z850", "t2m"), WHEN)
    dataset["2m_temperature"][5] = np.nan
    write_store(dataset, tmp_path / "a.zarr", zarr_format=2, chunk=1)
    (tmp_path / "a.zarr" / "geopotential" / "3.0.0.0").unlink()
    sizes = Fields(open_store(str(tmp_path / "a.zarr")), ("z500", "z850", "t2m")).stored_bytes(range(9))
    assert sizes.shape == (9, 3)
    assert (sizes[:, :2] == 0).all(axis=1).tolist() == [i == 3 for i in range(9)]
    assert sizes[5, 2] < 0.5 * np.median(sizes[:, 2])


@pytest.mark.parametrize(("dims", "told"), [("number", "number"), ("step", "prediction_timedelta")])
def test_further_dimensions_are_refused(tmp_path, dims, told):
    dataset = analysis_dataset(("t2m",), WHEN).expand_dims({dims: [1, 2]}, axis=1)
    write_store(dataset, tmp_path / "a.zarr", zarr_format=3)
    with pytest.raises(StoreError, match=told):
        Fields(open_store(str(tmp_path / "a.zarr")), ("t2m",))


UNITS = {
    ("t2m", "degC"): lambda x: x + 273.15,
    ("z500", "gpm"): lambda x: 9.80665 * x,
    ("msl", "hPa"): lambda x: 100.0 * x,
    ("q850", "g kg**-1"): lambda x: x,
    ("tp", "mm"): lambda x: x,
    ("tp", "m"): lambda x: 1000.0 * x,
    ("ssrd", "kJ m**-2"): lambda x: x / 3.6,
    ("ttr", "W h m**-2"): lambda x: x,
    ("u10m", "knots"): lambda x: 0.5144444 * x,
}
"""What a number with a label is in model units, by the definition of the unit."""


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(UNITS)), st.lists(st.floats(-1e3, 1e3, width=32), min_size=9, max_size=9), st.booleans())
def test_labeled_numbers_become_model_units_and_back(tmp_path_factory, case, numbers, packed):
    name, units = case
    path = tmp_path_factory.mktemp("units") / "a.zarr"
    dataset = analysis_dataset((name,), WHEN, static=False)
    stored_name = channel(name).variable.file_name
    values = np.broadcast_to(
        np.array(numbers, "f4").reshape(-1, *(1,) * (dataset[stored_name].ndim - 1)), dataset[stored_name].shape
    )
    dataset[stored_name] = (dataset[stored_name].dims, values, {"units": units})
    packing = {"dtype": "i4", "scale_factor": 1e-4, "add_offset": 7.0, "_FillValue": -(2**31)} if packed else {}
    dataset.to_zarr(path, encoding={stored_name: packing}, zarr_format=2)
    store = open_store(str(path))
    got = Fields(store, (name,)).read(range(9))[:, 0, 0, 0]
    expected = np.array([UNITS[case](float(x)) for x in np.array(numbers, "f4")])
    # Half a step of the packing, and the rounding of single precision beside its offset of 7.
    slope = max(1.0, abs(UNITS[case](1.0) - UNITS[case](0.0)))
    np.testing.assert_allclose(got, expected, rtol=2e-6, atol=2e-4 * slope)
    in_file_units = Fields(store, (name,), model_units=False).read(range(9))[:, 0, 0, 0]
    np.testing.assert_allclose(in_file_units * channel(name).variable.to_model, got, rtol=2e-6, atol=3e-6 * slope)


class TestOverHttp:
    @pytest.fixture
    def folder(self, tmp_path):
        write_store(analysis_dataset(NAMES, WHEN), tmp_path / "a.zarr", zarr_format=2, chunk=1)
        return tmp_path

    def test_every_third_request_may_fail_and_answers_may_stall(self, folder, monkeypatch):
        monkeypatch.setattr(remote, "TIMEOUT_SECONDS", 0.5)
        expected = Fields(open_store(str(folder / "a.zarr")), NAMES).read(range(9))
        with serve(folder, fail_every=3, stall_every=17) as (address, behavior):
            fields = Fields(open_store(f"{address}/a.zarr"), NAMES, threads=4)
            np.testing.assert_array_equal(fields.read(range(9)), expected)
        assert behavior.failed > 10
        assert behavior.stalled > 1

    def test_an_object_that_vanished_reads_as_missing(self, folder):
        with serve(folder) as (address, _):
            fields = Fields(open_store(f"{address}/a.zarr"), ("z500", "t2m"))
            (folder / "a.zarr" / "2m_temperature" / "4.0.0").unlink()
            got = fields.read([3, 4])
        assert np.isnan(got[1, 1]).all()
        assert np.isfinite(got[0]).all()
        assert np.isfinite(got[1, 0]).all()

    def test_an_object_that_arrives_damaged_is_named(self, folder):
        with serve(folder) as (address, _):
            fields = Fields(open_store(f"{address}/a.zarr"), ("t2m",))
            (folder / "a.zarr" / "2m_temperature" / "4.0.0").write_bytes(b"\x02\x01" * 40)
            with pytest.raises(
                StoreError, match=r"2m_temperature at 2018-01-02T00:00 .* 2m_temperature/4\.0\.0 is dam"
            ):
                fields.read([4])
