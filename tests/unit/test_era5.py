"""The border to analysis stores: whatever the layout on disk, the same fields in model units, or a clear refusal."""

import numpy as np
import pytest
import xarray as xr
from makers import analysis_dataset, instant, land, make_analysis, six_hour_sum, times, write_store

from fuxi_ens.channels import CHANNELS_78, channel
from fuxi_ens.config import Period
from fuxi_ens.data.audit.run import AuditOptions, audit
from fuxi_ens.data.era5 import cache_frames, open_analysis
from fuxi_ens.data.samples import SampleIndex, frame_times
from fuxi_ens.data.skip import write_skip_list
from fuxi_ens.errors import StoreError
from fuxi_ens.grid import LatLonGrid
from fuxi_ens.times import hours

GRID = LatLonGrid(8, 16)
WHEN = times("2018-01-01", "2018-01-03")
NAMES = ("z500", "z850", "t850", "q850", "t2m", "sst", "ttr", "tp")


def opened(path, names=NAMES, grid=GRID, step=6, **options):
    return open_analysis(str(path), names, grid, hours(step), **options)


def expected(names, when):
    """Model units, straight from the formulas: [time, channel, latitude, longitude]."""
    fields = []
    for name in names:
        variable = channel(name).variable
        values = (six_hour_sum if variable.accumulated else instant)(name, when, GRID) * variable.to_model
        fields.append(np.where(land(GRID), np.nan, values) if name == "sst" else values)
    return np.stack(fields, axis=1)


def refusal(path, *arguments, read=None, **options):
    def use():
        analysis = opened(path, *arguments, **options)
        if read is not None:
            analysis.read(read)

    with pytest.raises(StoreError) as caught:
        use()
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("longitude_first", [False, True])
@pytest.mark.parametrize("ascending", [False, True])
@pytest.mark.filterwarnings("ignore:Failed to open Zarr store with consolidated metadata:RuntimeWarning")
def test_frames_do_not_depend_on_the_layout(tmp_path, ascending, longitude_first, zarr_format):
    path = tmp_path / "store.zarr"
    layout = {"ascending": ascending, "longitude_first": longitude_first, "zarr_format": zarr_format}
    make_analysis(path, channels=NAMES, when=WHEN, **layout)
    analysis = opened(path)
    frames = analysis.read(WHEN[[3, 0, 7]])
    assert frames.dtype == np.float32
    assert frames.shape == (3, len(NAMES), 8, 16)
    np.testing.assert_allclose(frames, expected(NAMES, WHEN[[3, 0, 7]]), rtol=2e-6, atol=2e-4)


def test_all_78_channels_come_in_tensor_order(tmp_path):
    make_analysis(tmp_path / "a.zarr", channels=CHANNELS_78, when=WHEN[:2], height=8, width=16)
    frames = opened(tmp_path / "a.zarr", CHANNELS_78).read(WHEN[:2])
    assert frames.shape == (2, 78, 8, 16)
    np.testing.assert_allclose(frames, expected(CHANNELS_78, WHEN[:2]), rtol=2e-6, atol=1e-3)


def test_channels_come_in_the_order_asked_for(tmp_path):
    make_analysis(tmp_path / "a.zarr", channels=NAMES, when=WHEN)
    forward, backward = (opened(tmp_path / "a.zarr", names).read(WHEN[:1]) for names in (NAMES, NAMES[::-1]))
    np.testing.assert_array_equal(forward, backward[:, ::-1])


def test_units_change_exactly_once(tmp_path):
    dataset = make_analysis(tmp_path / "a.zarr", channels=NAMES, when=WHEN)
    frames = opened(tmp_path / "a.zarr").read(WHEN)
    of = dict(zip(NAMES, range(len(NAMES)), strict=True))
    np.testing.assert_allclose(
        frames[:, of["q850"]], dataset["specific_humidity"].sel(level=850).values * 1000, rtol=1e-6
    )
    np.testing.assert_allclose(frames[:, of["tp"]], dataset["total_precipitation_6hr"].values * 1000, rtol=1e-6)
    np.testing.assert_allclose(frames[:, of["ttr"]], dataset["top_net_thermal_radiation_6hr"] / 3600, rtol=1e-6)
    np.testing.assert_array_equal(frames[:, of["z500"]], dataset["geopotential"].sel(level=500))


def test_levels_are_chosen_by_value_not_by_place(tmp_path):
    dataset = analysis_dataset(("z50", "z500", "z850", "z1000"), WHEN).isel(level=[3, 1, 0, 2])
    path = write_store(dataset, tmp_path / "a.zarr", zarr_format=2)
    frames = opened(path, ("z500", "z850")).read(WHEN)
    np.testing.assert_allclose(frames, expected(("z500", "z850"), WHEN), rtol=2e-6)


def test_names_of_dimensions_may_be_those_of_other_archives(tmp_path):
    dataset = analysis_dataset(("z500", "t2m"), WHEN, static=False)
    renamed = dataset.rename(latitude="lat", longitude="lon", level="isobaricInhPa", time="valid_time")
    path = tmp_path / "a.zarr"
    renamed.to_zarr(path, zarr_format=2)
    np.testing.assert_allclose(
        opened(path, ("z500", "t2m")).read(WHEN), expected(("z500", "t2m"), WHEN), rtol=2e-6, atol=2e-4
    )


class TestHourly:
    HOURS = times("2018-01-01", "2018-01-03", 1)

    @pytest.fixture
    def path(self, tmp_path):
        make_analysis(tmp_path / "hourly.zarr", channels=NAMES, when=self.HOURS, hourly=True)
        return tmp_path / "hourly.zarr"

    def test_an_hourly_store_offers_the_steps_of_the_model(self, path):
        np.testing.assert_array_equal(opened(path).times[-8:], WHEN[-8:])
        np.testing.assert_array_equal(opened(path, ("t2m",), step=12).times, WHEN[::2])

    def test_six_hours_are_summed_up_to_the_stamp(self, path):
        frames = opened(path, ("ttr", "tp")).read(WHEN[1:])
        stored = xr.open_zarr(path, chunks=None)
        for i, name in enumerate(("top_net_thermal_radiation", "total_precipitation")):
            factor = (1 / 3600, 1000)[i]
            for t, when in enumerate(WHEN[1:]):
                total = 0.0
                for k in range(6):
                    total = total + stored[name].sel(time=when - np.timedelta64(k, "h")).values.astype(float)
                np.testing.assert_allclose(frames[t, i], total * factor, rtol=1e-5)

    def test_frames_equal_those_of_a_six_hourly_store(self, path, tmp_path):
        make_analysis(tmp_path / "six.zarr", channels=NAMES, when=WHEN)
        np.testing.assert_allclose(
            opened(path).read(WHEN[1:]), opened(tmp_path / "six.zarr").read(WHEN[1:]), rtol=1e-5, atol=2e-4
        )

    def test_a_sum_that_starts_before_the_store_is_refused(self, path):
        with pytest.raises(StoreError, match="tp"):
            opened(path, ("tp",)).read(WHEN[:1])

    def test_sums_over_a_store_that_is_not_hourly_are_refused(self, tmp_path):
        dataset = analysis_dataset(("t2m", "tp"), times("2018-01-01", "2018-01-02", 3), hourly=True)
        write_store(dataset, tmp_path / "a.zarr", zarr_format=2)
        assert "['tp']" in refusal(tmp_path / "a.zarr", ("t2m", "tp"))
        assert opened(tmp_path / "a.zarr", ("t2m",)).times.size == 5

    def test_an_hour_left_out_is_refused(self, tmp_path):
        dataset = analysis_dataset(("tp",), np.delete(self.HOURS, 9), hourly=True)
        write_store(dataset, tmp_path / "a.zarr", zarr_format=2)
        assert "not hourly" in refusal(tmp_path / "a.zarr", ("tp",))


@pytest.fixture
def store(tmp_path):
    """Write a store after `change` has had its way with it."""

    def write(change=lambda dataset: dataset, channels=NAMES):
        path = tmp_path / "changed.zarr"
        write_store(change(analysis_dataset(channels, WHEN)), path, zarr_format=2)
        return path

    return write


def poisoned(name, t, value=np.nan, **where):
    def change(dataset):
        place = {"time": t, "latitude": 2, "longitude": 3, **where}
        dataset[name][{dim: i for dim, i in place.items() if dim in dataset[name].dims}] = value
        return dataset

    return change


def test_sea_temperature_keeps_its_gaps_and_no_other_field_has_any(store):
    frames = opened(store()).read(WHEN)
    sst = NAMES.index("sst")
    np.testing.assert_array_equal(np.isnan(frames[:, sst]), np.broadcast_to(land(GRID), frames[:, sst].shape))
    assert np.isfinite(np.delete(frames, sst, axis=1)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("name", "told"), [("2m_temperature", "t2m"), ("geopotential", "z850")])
def test_a_missing_value_is_refused_with_channel_and_time(store, name, told, value):
    path = store(poisoned(name, 5, value, level=1))
    opened(path).read(WHEN[:5])
    text = refusal(path, read=WHEN[3:7])
    assert told in text
    assert "2018-01-02T06" in text


def test_a_frame_without_any_sea_temperature_is_refused(store):
    def change(dataset):
        dataset["sea_surface_temperature"][5] = np.nan
        return dataset

    assert "sst" in refusal(store(change), read=WHEN[5:6])


def test_a_time_that_is_not_there_is_refused_with_the_extent(store):
    path = store()
    for absent in ("2018-01-01T03", "2017-12-31T18", "2018-01-03T06"):
        text = refusal(path, read=np.array([absent], "datetime64[ns]"))
        assert absent in text
        assert "2018-01-01T00" in text
        assert "2018-01-03T00" in text


def test_a_missing_variable_is_named_with_what_there_is(store):
    text = refusal(store(lambda d: d.drop_vars("2m_temperature")))
    assert "'2m_temperature' for channel t2m" in text
    assert "mean_sea_level" not in text
    assert "sea_surface_temperature" in text


def test_a_missing_level_is_named_with_those_there_are(store):
    text = refusal(store(), ("z500", "z300"))
    assert "z300 needs level 300 hPa" in text
    assert "[500, 850]" in text


def test_an_accumulation_under_no_name_is_missing(store):
    text = refusal(store(lambda d: d.drop_vars("total_precipitation_6hr")))
    assert "'total_precipitation_6hr' for channel tp" in text


@pytest.mark.parametrize("dim", ["time", "latitude", "longitude"])
def test_a_missing_dimension_is_named(store, dim):
    assert repr(dim) in refusal(store(lambda d: d.isel({dim: 0}, drop=True)))


def test_another_grid_is_refused_with_both(store):
    text = refusal(store(), grid=LatLonGrid(32, 64))
    assert "8 latitudes 78.75..-78.75" in text
    assert "32x64" in text
    assert "regrid" in text


def test_longitudes_may_be_counted_from_minus_180(store):
    path = store(lambda d: d.assign_coords(longitude=(d.longitude + 180.0) % 360.0 - 180.0).sortby("longitude"))
    np.testing.assert_allclose(opened(path).read(WHEN[:2]), expected(NAMES, WHEN[:2]), rtol=2e-6, atol=2e-4)


def test_a_shifted_grid_is_refused(store):
    assert "longitudes" in refusal(store(lambda d: d.assign_coords(longitude=d.longitude + 0.25)))


@pytest.mark.parametrize("order", [[0, 2, 1], [0, 1, 1, 2], []])
def test_times_that_repeat_go_back_or_are_none_are_refused(store, order):
    assert "increasing order without duplicates" in refusal(store(lambda d: d.isel(time=order)))


def test_times_of_day_between_steps_are_no_frames(store):
    assert opened(store(lambda d: d.assign_coords(time=d.time + np.timedelta64(1, "h")))).times.size == 0


@pytest.mark.parametrize("content", [None, "file", "folder"])
def test_what_is_no_store_is_refused(tmp_path, content):
    path = tmp_path / "no.zarr"
    if content == "file":
        path.write_text("not a store")
    if content == "folder":
        path.mkdir()
    assert "check the path in the config" in refusal(path)


def test_a_damaged_chunk_is_refused(store):
    path = store()
    for chunk in (path / "2m_temperature").glob("[0-9]*"):
        chunk.write_bytes(chunk.read_bytes()[:20])
    refusal(path, read=WHEN[:1])


def test_a_lost_chunk_of_sea_temperature_is_refused(store):
    path = store()
    for chunk in (path / "sea_surface_temperature").glob("[0-9]*"):
        chunk.unlink()
    refusal(path, read=WHEN[:1])


def test_a_lost_chunk_is_refused(store):
    path = store()
    (path / "2m_temperature" / "0.0.0").unlink()
    assert "t2m" in refusal(path, read=WHEN[:1])


def test_the_cache_holds_the_frames_of_the_store(store):
    analysis = opened(store())
    done = []
    cache = cache_frames(analysis, WHEN[1:], lambda units, note: done.append(units), block=3)
    assert done == [3, 3, 2]
    assert cache.channels == NAMES
    np.testing.assert_array_equal(cache.read(WHEN[[4, 2]]), analysis.read(WHEN[[4, 2]]))
    with pytest.raises(AssertionError, match="filled for other times"):
        cache.read(WHEN[:1])


def test_only_the_variables_asked_for_are_read(store):
    path = store()
    for chunk in (path / "geopotential").glob("[0-9]*"):
        chunk.unlink()
    assert np.isfinite(opened(path, ("t2m",)).read(WHEN[:1])).all()


class TestSkipList:
    PERIOD = (Period(start="2018-01-01", end="2018-01-03"),)

    @pytest.fixture
    def damaged(self, tmp_path, store):
        """A store with one frame of temperature missing, and the skip list that an audit of it writes."""
        path = store(poisoned("2m_temperature", 5, latitude=slice(None), longitude=slice(None)))
        found = audit(str(path), None, AuditOptions(full=True))
        write_skip_list(tmp_path / "skip.json", str(path), found.skip)
        return path, tmp_path / "skip.json"

    def test_no_sample_touches_what_the_audit_found(self, damaged):
        path, skip_list = damaged
        analysis = opened(path, skip_list=skip_list)
        np.testing.assert_array_equal(analysis.skipped, WHEN[[5]])
        np.testing.assert_array_equal(analysis.times, np.delete(WHEN, 5))
        analysis.require_complete(self.PERIOD, hours(6))
        index = SampleIndex.legal(analysis.times, self.PERIOD, hours(6), 1)
        np.testing.assert_array_equal(index.init_times, WHEN[[1, 2, 3, 7]])
        for init_time in index.init_times:
            analysis.read(frame_times(init_time, hours(6), 1))

    def test_without_the_list_the_damage_is_met(self, damaged):
        assert "t2m (2m_temperature) has missing values" in refusal(damaged[0], read=WHEN)

    def test_the_list_of_the_source_serves_a_store_made_from_it(self, damaged, tmp_path):
        path, skip_list = damaged
        copy = tmp_path / "copy.zarr"
        make_analysis(copy, channels=NAMES, when=np.delete(WHEN, 5))
        with pytest.raises(StoreError, match="skip list"):
            opened(copy, skip_list=skip_list)
        opened(copy, skip_list=skip_list, made_from=(str(path),)).require_complete(self.PERIOD, hours(6))
