"""Physics against labels: what is turned, shifted or in other units is found and named, and nothing else is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from makers import instant, land, six_hour_sum, static_dataset

from fuxi_ens.channels import CHANNELS_78, STATIC_LAND_SEA_MASK, STATIC_OROGRAPHY, SURFACE, UPPER_AIR, channel
from fuxi_ens.data.audit.fields import static_of
from fuxi_ens.data.audit.layout import channels_of
from fuxi_ens.data.plausible import examine, require_plausible
from fuxi_ens.data.plausible.values import standard_geopotential
from fuxi_ens.errors import StoreError
from fuxi_ens.grid import LatLonGrid
from fuxi_ens.stores import Fields, open_store

GRID = LatLonGrid(32, 64)
WHEN = np.datetime64("2018-01-20T06:00", "ns")
GRAVITY = 9.80665


def made(grid=GRID, when=WHEN, channels=CHANNELS_78):
    """A frame in model units, [channel, latitude, longitude]."""
    fields = []
    for name in channels:
        variable = channel(name).variable
        make = six_hour_sum if variable.accumulated else instant
        fields.append(make(name, np.array([when]), grid)[0] * variable.to_model)
        if variable.may_be_missing:
            fields[-1][land(grid)] = np.nan
    return np.stack(fields).astype(np.float32)


@pytest.fixture(scope="module")
def frame():
    return made()


@pytest.fixture(scope="module")
def static():
    return {name: array.values for name, array in static_dataset(GRID).items()}


def look(frame, channels=CHANNELS_78, grid=GRID, **more):
    return examine(frame, channels, grid.latitude, grid.longitude, **more)


def only(frame, wanted):
    """The channels `wanted` of a frame of all 78."""
    return frame[[CHANNELS_78.index(name) for name in wanted]], tuple(wanted)


def changed(frame, prefix, change):
    """A frame in which the fields of one variable are changed."""
    out = frame.copy()
    for i, name in enumerate(CHANNELS_78):
        if channel(name).variable.short == prefix:
            out[i] = change(out[i])
    return out


class TestSoundFrames:
    @pytest.mark.parametrize("shape", [(8, 16), (32, 64), (121, 240)])
    @pytest.mark.parametrize("month", [1, 4, 7, 10])
    def test_nothing_is_found(self, shape, month):
        grid, when = LatLonGrid(*shape), np.datetime64(f"2018-{month:02}-20T18:00", "ns")
        static = {name: array.values for name, array in static_dataset(grid).items()}
        assert look(made(grid, when), grid=grid, when=when, static=static) == ()

    @pytest.mark.parametrize("seed", range(20))
    def test_noise_has_no_orientation(self, frame, seed):
        """Weak evidence is none: only winds are noise, everything else is sound."""
        rng = np.random.default_rng(seed)
        noisy = frame.copy()
        for i, name in enumerate(CHANNELS_78):
            if channel(name).variable.model_units == "m s**-1":
                noisy[i] = 5.0 * rng.standard_normal(noisy[i].shape)
        assert look(noisy, when=WHEN) == ()

    def test_an_aquaplanet_has_no_orientation(self, frame):
        """Fields that depend on latitude alone, the same in both hemispheres."""
        upper, names = only(frame, [n for n in CHANNELS_78 if channel(n).level and not n.startswith(("u", "v"))])
        zonal = upper.mean(axis=-1, keepdims=True) + np.zeros_like(upper)
        assert look(0.5 * (zonal + zonal[:, ::-1]), names, when=WHEN) == ()

    def test_a_channel_without_any_value_is_not_judged(self, frame):
        assert look(changed(frame, "t", lambda field: np.full_like(field, np.nan)), when=WHEN) == ()

    def test_one_field_alone_is_enough_to_look_at(self, frame):
        assert look(*only(frame, ["t850"])) == ()


class TestOrientation:
    def test_reversed_rows_are_found_and_named(self, frame):
        found = look(frame[:, ::-1])
        assert [finding.check for finding in found] == ["geostrophic balance"]
        assert "latitude" in found[0].cause
        assert "reversed" in found[0].cause
        assert {"z500", "v500", "z850", "msl", "v10m"} <= set(found[0].channels)
        assert "u500" not in found[0].channels

    def test_reversed_columns_are_found(self, frame):
        checks = {finding.check for finding in look(frame[:, :, ::-1], when=WHEN)}
        assert checks == {"geostrophic balance", "sun"}

    def test_a_globe_turned_upside_down_keeps_its_balance(self, frame):
        """Rows and columns reversed: only the sun, the season and static fields can tell."""
        checks = {finding.check for finding in look(frame[:, ::-1, ::-1], when=WHEN)}
        assert checks == {"sun"}

    @pytest.mark.parametrize("wanted", [("z500", "v500"), ("z50", "v50"), ("msl", "v10m"), ("msl", "v100m")])
    def test_one_level_is_enough(self, frame, wanted):
        few, names = only(frame, wanted)
        assert look(few, names) == ()
        assert [finding.check for finding in look(few[:, ::-1], names)] == ["geostrophic balance"]

    @given(
        st.integers(8, 60).map(lambda n: 2 * n), st.floats(0, 360), st.datetimes().map(lambda t: np.datetime64(t, "ns"))
    )
    def test_the_same_holds_on_any_grid_and_date(self, height, shift, when):
        """Equivariance: what is found does not depend on where a row begins, nor on the date."""
        grid = LatLonGrid(height, 2 * height)
        if not np.datetime64("1940-01-01") < when < np.datetime64("2060-01-01"):
            return
        names = ("z500", "u500", "v500")
        sound = np.roll(made(grid, when, names), int(shift / 360 * grid.width), axis=-1)
        assert look(sound, names, grid) == ()
        assert len(look(sound[:, ::-1], names, grid)) == 1
        assert len(look(sound[:, :, ::-1], names, grid)) == 1

    def test_a_region_is_judged_by_its_balance(self, frame):
        part, names = only(frame[:, 4:12, 5:30], ["z500", "u500", "v500", "t2m", "tp"])
        latitude, longitude = GRID.latitude[4:12], GRID.longitude[5:30]
        assert examine(part, names, latitude, longitude, when=WHEN) == ()
        found = examine(part[:, :, ::-1], names, latitude, longitude, when=WHEN)
        assert ["longitude" in finding.cause for finding in found] == [True]

    def test_warm_poles(self, frame):
        found = look(np.roll(frame, 16, axis=1)[:, ::1])
        assert "warm tropics" in {finding.check for finding in found}

    @pytest.mark.parametrize(("month", "sign"), [(1, -1), (2, -1), (7, 1), (8, 1)])
    def test_summer_lies_in_the_hemisphere_of_the_season(self, frame, month, sign):
        when = np.datetime64(f"2018-{month:02}-15T06:00", "ns")
        few, names = only(frame, ["t2m", "t850"])
        seasonal = few + np.float32(5 * sign) * np.sign(GRID.latitude)[:, None].astype(np.float32)
        assert look(seasonal, names, when=when) == ()
        found = look(seasonal[:, ::-1], names, when=when)
        assert [finding.check for finding in found] == ["season"]
        assert look(seasonal[:, ::-1], names, when=np.datetime64("2018-04-20", "ns")) == ()

    @pytest.mark.parametrize("hour", [0, 6, 12, 18])
    def test_the_sun_shines_where_it_is_day(self, hour):
        when = np.datetime64("2018-03-20", "ns") + np.timedelta64(hour, "h")
        names = ("ssr", "ssrd", "fdir")
        sound = made(when=when, channels=names)
        assert look(sound, names, when=when) == ()
        (late,) = look(sound, names, when=when + np.timedelta64(6, "h"))
        assert late.check == "sun"
        assert "-6 h" in late.cause or "+6 h" in late.cause
        assert [finding.check for finding in look(np.roll(sound, 32, axis=-1), names, when=when)] == ["sun"]


@pytest.fixture(scope="module")
def nature():
    store = open_store("asset:nature_run/nature_run_64x32.zarr")
    return Fields(store, channels_of(store)), dict(static_of(store))


@pytest.fixture(scope="module", params=range(12))
def state(nature, request):
    reader, static = nature
    position = request.param * (len(reader.times) - 1) // 11
    return reader.read([position])[0], reader.channels, reader.times[position], static


class TestNatureRun:
    """A simulated atmosphere, nothing of which was made for these checks."""

    def test_it_is_plausible(self, state):
        frame, names, when, static = state
        assert look(frame, names, when=when, static=static) == ()

    @pytest.mark.parametrize("axis", [1, 2])
    def test_reversed_it_is_not(self, state, axis):
        frame, names, when, static = state
        found = look(np.flip(frame, axis), names, when=when)
        assert "geostrophic balance" in {finding.check for finding in found}
        turned = {name: np.flip(field, axis - 1) for name, field in static.items()}
        word = ("latitude", "longitude")[axis - 1]
        assert any(word in f.cause for f in look(frame, names, static=turned) if f.check == "landmarks")

    def test_one_field_that_lies_differently(self, state):
        frame, names, _, _ = state
        wanted = [names.index(name) for name in ("z500", "v500")]
        pair = frame[wanted]
        (finding,) = look(np.stack([pair[0], pair[1, ::-1]]), ("z500", "v500"))
        assert finding.cause == "the fields lie in different orientations"

    @pytest.mark.parametrize("rows", [slice(2, 14), slice(18, 30)])
    def test_one_hemisphere(self, state, rows):
        frame, names, _, _ = state
        part = frame[[names.index(name) for name in ("z500", "u500", "v500")], rows]
        latitude, few = GRID.latitude[rows], ("z500", "u500", "v500")
        assert examine(part, few, latitude, GRID.longitude) == ()
        causes = [finding.cause for finding in examine(part[:, ::-1], few, latitude, GRID.longitude)]
        assert causes == ["latitude is reversed in the data, whatever its labels say"]


class TestStatic:
    TURNS = (
        ("latitude is reversed", lambda field: field[::-1]),
        ("longitude runs westward", lambda field: field[:, ::-1]),
        ("longitude begins at 180", lambda field: np.roll(field, 32, axis=1)),
        ("both reversed", lambda field: field[::-1, ::-1]),
    )

    @pytest.mark.parametrize(("words", "turn"), TURNS, ids=[words for words, _ in TURNS])
    def test_the_orography_knows_how_it_lies(self, frame, static, words, turn):
        few, names = only(frame, ["t850"])
        found = look(few, names, static={STATIC_OROGRAPHY: turn(static[STATIC_OROGRAPHY])})
        assert [words in finding.cause for finding in found] == [True]

    def test_orography_in_meters(self, frame, static):
        few, names = only(frame, ["t850"])
        (finding,) = look(few, names, static={STATIC_OROGRAPHY: static[STATIC_OROGRAPHY] / GRAVITY})
        assert finding.cause == "looks like meters, not m2 s-2"

    def test_a_flat_planet_is_not_judged(self, frame):
        few, names = only(frame, ["t850"])
        assert (
            look(few, names, static={STATIC_OROGRAPHY: np.zeros((32, 64)), STATIC_LAND_SEA_MASK: np.zeros((32, 64))})
            == ()
        )

    def test_land_in_the_wrong_hemisphere(self, frame, static):
        few, names = only(frame, ["t850"])
        northern = static[STATIC_LAND_SEA_MASK] * (GRID.latitude > 0)[:, None]
        assert look(few, names, static={STATIC_LAND_SEA_MASK: northern}) == ()
        (finding,) = look(few, names, static={STATIC_LAND_SEA_MASK: northern[::-1]})
        assert "latitude is reversed" in finding.cause

    def test_a_mask_in_percent(self, frame, static):
        few, names = only(frame, ["t850"])
        (finding,) = look(few, names, static={STATIC_LAND_SEA_MASK: 100 * static[STATIC_LAND_SEA_MASK]})
        assert "percent" in finding.cause

    @pytest.mark.parametrize("turn", [lambda f: f[:, ::-1], lambda f: f[:, :, ::-1], lambda f: np.roll(f, 32, axis=2)])
    def test_sea_temperature_fits_the_land(self, frame, static, turn):
        few, names = only(frame, ["sst"])
        mask = {STATIC_LAND_SEA_MASK: static[STATIC_LAND_SEA_MASK]}
        assert look(few, names, static=mask) == ()
        (finding,) = look(turn(few), names, static=mask)
        assert finding.channels == ("sst", STATIC_LAND_SEA_MASK)


FAHRENHEIT = (lambda x: x * 9 / 5 - 459.67, "Fahrenheit")
CELSIUS = (lambda x: x - 273.15, "Celsius")
HOUR = (lambda x: x / 6, "one hour")
KNOTS = (lambda x: x * 3600 / 1852, "knots")
# What a number becomes, in model units, if the store is in the unit named, and the border takes it for file units.
MISTAKES = {
    "z": [
        (lambda x: x / GRAVITY, "gpm"),
        (lambda x: x / GRAVITY / 10, "gpdm"),
        (lambda x: x * GRAVITY, "gravity twice"),
    ],
    "t": [CELSIUS, FAHRENHEIT],
    "u": [KNOTS, (lambda x: x * 3.6, "km h-1"), (lambda x: x * 100, "cm s-1")],
    "v": [KNOTS, (lambda x: x * 3.6, "km h-1"), (lambda x: x * 100, "cm s-1")],
    "q": [(lambda x: x * 1000, "g/kg"), (lambda x: x / 1000, "labeled g/kg")],
    "t2m": [CELSIUS, FAHRENHEIT],
    "d2m": [CELSIUS, FAHRENHEIT],
    "sst": [CELSIUS, FAHRENHEIT],
    "msl": [(lambda x: x / 100, "hPa"), (lambda x: x / 1000, "kPa")],
    "tp": [
        (lambda x: x * 1000, "mm, not m"),
        HOUR,
        (lambda x: x * 4, "24 h sum"),
        (lambda x: x / 21.6, "kg m-2 s-1"),
        (lambda x: x * 1000 / 6, "one hour in mm"),
    ],
} | {
    name: [HOUR, (lambda x: x / 21600, "W m-2"), (lambda x: x / 3600, "W h m-2"), (lambda x: x * 4, "24 h sum")]
    for name in ("ssr", "ssrd", "fdir", "ttr")
}
MISTAKES["ttr"] = [*MISTAKES["ttr"], (lambda x: -x, "opposite direction"), (lambda x: -x / 6, "one hour")]
CASES = [(short, change, words) for short, mistakes in MISTAKES.items() for change, words in mistakes]


class TestUnits:
    @pytest.mark.parametrize(("short", "change", "words"), CASES, ids=[f"{s}-{w}" for s, _, w in CASES])
    def test_a_wrong_unit_is_found_and_named(self, frame, short, change, words):
        found = look(changed(frame, short, change), when=WHEN)
        assert len(found) == 1
        assert words in found[0].cause
        assert all(channel(name).variable.short == short for name in found[0].channels)
        if short in "ztq":
            assert len(found[0].channels) == 13

    @pytest.mark.parametrize("short", ["u10m", "v10m", "u100m", "v100m"])
    def test_winds_near_the_ground_faster_than_any_on_earth(self, frame, rng, short):
        """Without a mass field the mean square tells; the strongest sound winds must pass."""
        strongest = {"u10m": 6.9, "v10m": 5.9, "u100m": 8.5, "v100m": 7.5}[short]
        wind = (strongest * rng.standard_normal((1, 32, 64))).clip(-60, 60).astype(np.float32)
        assert look(wind, (short,)) == ()
        (finding,) = look(wind * np.float32(3600 / 1852), (short,))
        assert "knots" in finding.cause

    def test_every_variable_has_a_case(self):
        winds = {"u10m", "v10m", "u100m", "v100m"}
        assert {v.short for v in (*UPPER_AIR, *SURFACE)} == set(MISTAKES) | winds

    @pytest.mark.parametrize("short", ["z", "t"])
    def test_levels_in_another_order(self, frame, short):
        rows = [i for i, name in enumerate(CHANNELS_78) if channel(name).variable.short == short]
        shuffled = frame.copy()
        shuffled[rows] = frame[rows[::-1]]
        found = look(shuffled)
        assert "order of levels" in {finding.check for finding in found}

    def test_a_fill_value_taken_for_data(self, frame):
        harmed = frame.copy()
        harmed[CHANNELS_78.index("t2m"), 3, 4] = -32767
        (finding,) = look(harmed)
        assert finding.channels == ("t2m",)
        assert "-32767" in finding.got.replace("-3.277e+04", "-32767")

    def test_missing_points_are_left_out(self, frame):
        holed = frame.copy()
        holed[:, 10:12] = np.nan
        assert look(holed, when=WHEN) == ()

    # ICAO standard atmosphere, geopotential height in m.
    @pytest.mark.parametrize(
        ("level", "height"), [(1000, 110.9), (850, 1457.3), (500, 5574.4), (250, 10362.9), (100, 16179.7)]
    )
    def test_the_standard_atmosphere(self, level, height):
        assert standard_geopotential(level) / GRAVITY == pytest.approx(height, rel=2e-4, abs=0.2)


class TestRequire:
    def test_sound_data_pass(self, frame):
        require_plausible(frame, CHANNELS_78, GRID, WHEN, "era5.zarr")

    def test_the_message_says_what_where_and_what_to_do(self, frame):
        harmed = changed(frame, "z", lambda x: x / GRAVITY)
        with pytest.raises(StoreError, match=r"era5\.zarr at 2018-01-20T06:00 .*z50, z100.*gpm.*data audit era5\.zarr"):
            require_plausible(harmed, CHANNELS_78, GRID, WHEN, "era5.zarr")
