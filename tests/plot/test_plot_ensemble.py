"""What the pictures of an ensemble draw: the numbers in the artists against twins written out by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from cartopy.mpl.geoaxes import GeoAxes
from matplotlib.collections import LineCollection
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure

from fuxi_ens.errors import UserError
from fuxi_ens.grid import REGIONS, LatLonGrid, Region, area_weights
from fuxi_ens.plot import geography, style
from fuxi_ens.plot.fields import Case, Place
from fuxi_ens.plot.geography import DEGREES, aspect, globe, map_axes, northern_cap, region_named
from fuxi_ens.plot.maps import ensemble_maps, stamps
from fuxi_ens.plot.meteogram import meteogram
from fuxi_ens.plot.place_title import distance_km, place_title
from fuxi_ens.plot.plume import plume
from fuxi_ens.plot.probability import STEPS, Event, probability_map, step_colors
from fuxi_ens.plot.snapshot import Snapshot
from fuxi_ens.plot.spaghetti import spaghetti, usual_contours
from fuxi_ens.times import hours

GRID = LatLonGrid(32, 64)
INIT = np.datetime64("1998-01-12T00", "ns")
GRAVITY = 9.80665


def field_of(values):
    return xr.DataArray(values, {"latitude": GRID.latitude, "longitude": GRID.longitude}, ("latitude", "longitude"))


def snapshot(name, members, truth=None):
    """Members are arrays [latitude, longitude] in file units."""
    stacked = xr.concat([field_of(member) for member in members], "number").assign_coords(number=range(len(members)))
    return Snapshot(name, "ours", INIT, hours(36), stacked, None if truth is None else field_of(truth))


@pytest.fixture
def noisy(rng):
    """Five members of 2 m temperature with no structure at all, and a truth."""
    return snapshot("t2m", 280.0 + 8.0 * rng.standard_normal((5, 32, 64)), 280.0 + rng.standard_normal((32, 64)))


def zonal(heights):
    """Geopotential of members whose height in dam falls by one per degree from `heights` at the equator."""
    return snapshot("z500", [np.tile(10 * GRAVITY * (h - np.abs(GRID.latitude))[:, None], 64) for h in heights])


def panels(figure):
    return [axes for axes in figure.axes if isinstance(axes, GeoAxes)]


def contours(axes):
    return [artist for artist in axes.get_children() if isinstance(artist, QuadContourSet)]


def where_on_earth(contour_set):
    """Longitude and latitude of the vertices of a contour, from projected coordinates."""
    vertices = np.concatenate([path.vertices for path in contour_set.get_paths()])
    points = DEGREES.transform_points(contour_set.axes.projection, vertices[:, 0], vertices[:, 1])
    return points[:, 0], points[:, 1]


def brute_quantile(values, share):
    """Linear interpolation between sorted members, written out."""
    ranked = sorted(values)
    position = share * (len(ranked) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ranked) - 1)
    return ranked[below] + (position - below) * (ranked[above] - ranked[below])


class TestMaps:
    def test_panels_hold_mean_truth_spread_and_error_in_chart_units(self, noisy):
        figure = ensemble_maps(noisy)
        values = noisy.members.to_numpy()
        mean = [[math.fsum(values[:, i, j]) / 5 - 273.15 for j in range(64)] for i in range(32)]
        truth = noisy.truth.to_numpy() - 273.15
        spread = np.sqrt(sum((values[k] - 273.15 - mean) ** 2 for k in range(5)) / 4)
        drawn = [contours(axes)[0] for axes in panels(figure)]
        for contour_set, expected in zip(drawn, (mean, truth, spread, mean - truth), strict=True):
            assert (contour_set.zmin, contour_set.zmax) == pytest.approx((np.min(expected), np.max(expected)))
        assert np.array_equal(drawn[0].levels, drawn[1].levels)

    def test_without_a_truth_there_are_two_panels(self, noisy):
        alone = Snapshot("t2m", "ours", INIT, hours(36), noisy.members)
        titles = [axes.get_title(loc="left") for axes in panels(ensemble_maps(alone))]
        assert titles[0] == "Ensemble mean"
        assert titles[1].startswith("Spread ")
        assert titles[1].endswith(" K")
        assert len(titles) == 2

    @pytest.mark.parametrize("name", ["global", "europe", "tropics"])
    def test_numbers_in_titles_are_those_of_the_region(self, noisy, name):
        region = REGIONS[name]
        latitude, longitude = GRID.latitude, GRID.longitude
        error = noisy.members.to_numpy().mean(axis=0) - noisy.truth.to_numpy()
        total = weight = 0.0
        for i, j in np.ndindex(32, 64):
            # The one box used here that crosses Greenwich is Europe.
            east = longitude[j] - 360.0 if region.west > region.east and longitude[j] >= region.west else longitude[j]
            west = region.west - 360.0 if region.west > region.east else region.west
            if region.south <= latitude[i] <= region.north and west <= east <= region.east:
                total += area_weights(latitude)[i] * error[i, j] ** 2
                weight += area_weights(latitude)[i]
        title = panels(ensemble_maps(noisy, region))[3].get_title(loc="left")
        assert title == f"Mean minus truth, RMSE {math.sqrt(total / weight):.3g} K"

    def test_the_title_says_what_when_and_of_how_many(self, noisy):
        title = ensemble_maps(noisy).get_suptitle()
        assert "temperature, ours\ninit 1998-01-12 00 UTC   day 1.5 (+36 h)   valid 1998-01-13 12 UTC" in title
        assert title.endswith("5 members")

    def test_stamps_are_the_mean_and_every_member_on_one_scale(self, noisy):
        axes = panels(stamps(noisy))
        assert [a.get_title(loc="left") for a in axes] == ["ensemble mean", *(f"member {k}" for k in range(5))]
        drawn = [contours(a)[0] for a in axes]
        for k in range(5):
            member = noisy.members.to_numpy()[k] - 273.15
            assert (drawn[k + 1].zmin, drawn[k + 1].zmax) == pytest.approx((member.min(), member.max()))
            assert np.array_equal(drawn[k + 1].levels, drawn[0].levels)

    def test_one_member_has_no_spread(self, noisy):
        with pytest.raises(UserError, match="two or more"):
            ensemble_maps(Snapshot("t2m", "ours", INIT, hours(36), noisy.members[:1]))

    def test_missing_points_stay_missing(self, noisy):
        members = noisy.members.where(noisy.members["longitude"] < 180.0)
        figure = ensemble_maps(Snapshot("sst", "ours", INIT, hours(36), members))
        assert np.isfinite(contours(panels(figure)[0])[0].zmax)


class TestSpaghetti:
    @pytest.mark.parametrize("name", ["global", "northern-hemisphere", "europe", "tropics"])
    def test_contours_lie_where_the_members_have_the_value(self, name):
        region = REGIONS[name]
        value = 545.0 if region.north > 40 else 575.0
        heights = [590.0, 591.0, 593.0]
        axes = panels(spaghetti(zonal(heights), [value], region))[0]
        drawn = contours(axes)
        # Three members and their mean.
        assert len(drawn) == 4
        for contour_set, height in zip(drawn, [*heights, np.mean(heights)], strict=True):
            # Between grid points a projected latitude is not quite linear.
            assert np.abs(where_on_earth(contour_set)[1]) == pytest.approx(height - value, abs=0.1)
        assert drawn[-1].get_linewidths()[0] > 2 * drawn[0].get_linewidths()[0]

    def test_a_contour_around_the_pole_is_whole(self):
        axes = panels(spaghetti(zonal([590.0, 592.0]), [545.0], region_named(northern_cap())))[0]
        longitude = np.sort(where_on_earth(contours(axes)[0])[0])
        assert np.diff(longitude).max() < 6.0
        assert (longitude[0], longitude[-1]) == pytest.approx((-180.0, 180.0), abs=0.1)

    def test_colors_tell_values_apart_and_the_truth_is_dashed(self):
        shown = zonal([590.0, 592.0])
        with_truth = Snapshot("z500", "ours", INIT, hours(36), shown.members, shown.members[0].drop_vars("number"))
        figure = spaghetti(with_truth, [530.0, 560.0], Region())
        drawn = contours(panels(figure)[0])
        assert len({tuple(one.get_edgecolor()[0][:3]) for one in drawn}) == 3
        assert [text.get_text() for text in figure.legends[0].get_texts()] == [
            *("530 dam", "560 dam", "thick: ensemble mean", "truth"),
        ]

    def test_usual_contours_are_round_and_inside(self):
        values = usual_contours(zonal([590.0, 592.0]), REGIONS["northern-hemisphere"])
        assert 1 <= len(values) <= 3
        assert all(505 < value < 571 and value == round(value) for value in values)

    def test_a_member_without_the_contour_is_left_out(self):
        figure = spaghetti(zonal([590.0, 600.0]), [596.0], Region())
        # Neither the lower member nor the mean reaches it.
        assert len(contours(panels(figure)[0])) == 1

    def test_a_value_nobody_has_and_too_many_values(self):
        # Between the members, but on none of them.
        with pytest.raises(UserError, match="no member has a contour at 595 dam"):
            spaghetti(zonal([590.0, 690.0]), [595.0], Region())
        with pytest.raises(UserError, match=r"no member has a contour at 700 dam: z500 goes from .* to .* dam here"):
            spaghetti(zonal([590.0, 600.0]), [700.0], Region())
        with pytest.raises(UserError, match="more than 6 cannot be told apart"):
            spaghetti(zonal([590.0, 600.0]), list(range(530, 537)), Region())


class TestProbability:
    @pytest.mark.parametrize(("below", "threshold"), [(False, 10.0), (True, 0.0), (False, 6.85)])
    def test_the_share_is_a_count(self, noisy, below, threshold):
        share = Event(threshold, below).share(noisy).to_numpy()
        values = noisy.members.to_numpy()
        for i, j in np.ndindex(32, 64):
            count = 0
            for k in range(5):
                celsius = values[k, i, j] - 273.15
                count += celsius < threshold if below else celsius > threshold
            assert share[i, j] == pytest.approx(count / 5)

    @pytest.mark.parametrize(
        ("name", "stored", "threshold"), [("tp", 1e-3, 1.0), ("msl", 1e5, 1000.0), ("z500", 5500 * GRAVITY, 550.0)]
    )
    def test_thresholds_are_in_chart_units(self, name, stored, threshold):
        shown = snapshot(name, [np.full((32, 64), stored * factor) for factor in (0.99, 1.01, 1.02, 1.03)])
        assert np.unique(Event(threshold).share(shown)) == pytest.approx(0.75)
        assert np.unique(Event(threshold, below=True).share(shown)) == pytest.approx(0.25)

    def test_a_point_without_values_has_no_probability(self, noisy):
        masked = Snapshot("sst", "ours", INIT, hours(36), noisy.members.where(noisy.members["longitude"] > 90.0))
        share = Event(0.0).share(masked)
        assert share.isnull().equals(masked.members[0].isnull().drop_vars("number"))

    def test_the_map_draws_the_share_in_steps_and_the_truth_as_a_line(self, noisy):
        event = Event(5.0)
        figure = probability_map(noisy, event, Region())
        filled, line = contours(panels(figure)[0])
        share = event.share(noisy).to_numpy()
        assert (filled.zmin, filled.zmax) == pytest.approx((share.min(), share.max()))
        assert filled.levels.tolist() == list(STEPS)
        assert line.levels.tolist() == [5.0]
        assert "Probability of 2\N{NO-BREAK SPACE}m temperature above 5 \N{DEGREE SIGN}C, ours" in figure.get_suptitle()
        assert "share of 5 members" in figure.axes[1].get_xlabel()

    def test_steps_darken_evenly_for_everyone(self):
        red, green, blue = step_colors()(np.arange(len(STEPS) - 1))[:, :3].T
        assert (np.diff(0.2126 * red + 0.7152 * green + 0.0722 * blue) < -0.03).all()


class TestMeteogram:
    @pytest.fixture
    def case(self, rng):
        leads = np.arange(1, 9) * hours(6)
        place = {"latitude": [52.5], "longitude": [11.25]}
        members = xr.DataArray(
            280.0 + 5.0 * rng.standard_normal((7, 8, 1, 1)),
            {"number": range(7), "lead_time": leads, **place},
            ("number", "lead_time", "latitude", "longitude"),
        )
        truth = members[0].drop_vars("number").rename(lead_time="valid_time").assign_coords(valid_time=INIT + leads)
        return Case("t2m", INIT, members, truth[:5])

    def test_boxes_are_quantiles_of_the_members(self, case):
        axes = meteogram([case], Place("Berlin", 52.5, 13.4), "ours").axes[0]
        values = case.forecast.to_numpy()[:, :, 0, 0] - 273.15
        expected = {q: [brute_quantile(values[:, k], q) for k in range(8)] for q in (0, 0.1, 0.25, 0.5, 0.75, 0.9, 1)}
        whiskers, medians = [artist for artist in axes.collections if isinstance(artist, LineCollection)]
        ends = np.array(whiskers.get_segments())[:, :, 1]
        np.testing.assert_allclose(ends.T, [expected[0], expected[1]])
        np.testing.assert_allclose(np.array(medians.get_segments())[:, 0, 1], expected[0.5])
        for boxes, low, high in ((axes.containers[0], 0.1, 0.9), (axes.containers[1], 0.25, 0.75)):
            np.testing.assert_allclose([box.get_y() for box in boxes], expected[low])
            np.testing.assert_allclose([box.get_y() + box.get_height() for box in boxes], expected[high])
            centers = [box.get_x() + 0.5 * box.get_width() for box in boxes]
            np.testing.assert_allclose(centers, np.arange(1, 9) * 0.25)
        assert axes.containers[0][0].get_width() < axes.containers[1][0].get_width()
        np.testing.assert_allclose(axes.lines[0].get_ydata(), values[0, :5])

    def test_panels_title_and_key(self, case):
        without = Case("t2m", INIT, case.forecast, case.truth[:0])
        figure = meteogram([without, without], Place("Berlin", 52.5, 13.4), "ours")
        assert [axes.get_title(loc="left") for axes in figure.axes] == [
            "2\N{NO-BREAK SPACE}m temperature (\N{DEGREE SIGN}C)"
        ] * 2
        assert "truth" not in [text.get_text() for text in figure.legends[0].get_texts()]
        labels = [text.get_text() for text in figure.axes[1].get_xticklabels()]
        assert labels == ["Mon 12\nJan 1998", "Tue 13", "Wed 14"]

    def test_sums_and_speeds_begin_at_zero(self, case):
        for name in ("tp", "ws10m"):
            axes = meteogram([Case(name, INIT, abs(case.forecast), case.truth)], Place("x", 0, 0), "ours").axes[0]
            assert axes.get_ylim()[0] == 0.0

    def test_a_single_lead_time(self, case):
        one = Case("t2m", INIT, case.forecast[:, :1], case.truth[:0])
        assert len(meteogram([one], Place("x", 0, 0), "ours").axes[0].containers[0]) == 1

    def test_the_title_names_the_grid_point_and_its_distance(self, case):
        title = place_title(case, Place("Berlin", 52.5, 13.4), "ours")
        assert title.splitlines()[0] == "Berlin (52.5\N{DEGREE SIGN}N, 13.4\N{DEGREE SIGN}E), ours"
        # 2.15 degrees of longitude at 52.5 N are 2.15 * 111.19 * cos(52.5) km.
        assert "7 members" in title
        assert title.endswith(f"{2.15 * 111.195 * math.cos(math.radians(52.5)):.0f} km away")

    @pytest.mark.parametrize(
        ("one", "other", "share"),
        [((0, 0), (0, 90), 0.5), ((90, 0), (-90, 123), 1.0), ((0, 179), (0, -179), 2 / 180), ((10, 20), (10, 380), 0)],
    )
    def test_distances_on_the_sphere(self, one, other, share):
        assert distance_km(Place("a", *one), Place("b", *other)) == pytest.approx(share * math.pi * 6371.0, abs=1e-6)

    def test_a_plume_without_a_truth_says_nothing_of_one(self, case):
        figure = plume([Case("t2m", INIT, case.forecast, case.truth[:0])], Place("x", 0, 0), title="A title")
        assert "truth" not in [text.get_text() for text in figure.legends[0].get_texts()]
        assert figure.get_suptitle() == "A title"


class TestTheControlMember:
    """It is drawn as what it is, and none of the numbers of the ensemble."""

    @pytest.fixture
    def shown(self, rng):
        heights = [560.0, 570.0, 580.0]
        plain = zonal(heights)
        control = zonal([600.0]).members[0].drop_vars("number")
        return plain, replace(plain, control=control)

    def test_maps_and_probabilities_do_not_change(self, shown):
        without, with_control = shown
        for draw in (ensemble_maps, lambda one: probability_map(one, Event(550.0), Region())):
            pairs = [contours(draw(one).axes[0])[0] for one in (without, with_control)]
            for before, after in zip(*(one.get_paths() for one in pairs), strict=True):
                np.testing.assert_array_equal(before.vertices, after.vertices)

    def test_it_has_a_stamp_of_its_own(self, shown):
        titles = [axes.get_title(loc="left") for axes in panels(stamps(shown[1]))]
        assert titles == ["ensemble mean", "control", "member 0", "member 1", "member 2"]

    def test_its_contour_is_dash_dotted_and_named(self, shown):
        figures = [spaghetti(one, [550.0], Region()) for one in shown]
        before, after = (len(contours(figure.axes[0])) for figure in figures)
        assert after == before + 1
        named = [[text.get_text() for text in figure.legends[0].get_texts()] for figure in figures]
        assert "dash-dot: control" in named[1]
        assert not any("control" in name for name in named[0])

    def test_titles_count_it_apart(self, shown):
        assert shown[0].title.endswith("   3 members")
        assert shown[1].title.endswith("   3 members and control")

    @pytest.mark.parametrize("draw", [plume, lambda cases, place: meteogram(cases, place, "ours")])
    def test_it_is_a_line_of_its_own_at_a_place(self, draw, rng):
        leads = np.arange(1, 9) * hours(6)
        dims = {"number": range(5), "lead_time": leads, "latitude": [52.5], "longitude": [11.25]}
        members = xr.DataArray(280.0 + rng.standard_normal((5, 8, 1, 1)), dims, tuple(dims))
        control = members[0].drop_vars("number") + 40.0
        truth = control[:0].rename(lead_time="valid_time")
        figure = draw([Case("t2m", INIT, members, truth, control=control)], Place("x", 52.5, 11.25))
        plain = draw([Case("t2m", INIT, members, truth)], Place("x", 52.5, 11.25))
        lines = [line for line in figure.axes[0].lines if line.get_color() == style.CONTROL_COLOR]
        np.testing.assert_allclose(lines[0].get_ydata(), control.to_numpy()[:, 0, 0] - 273.15)
        assert len(figure.axes[0].lines) == len(plain.axes[0].lines) + 1
        assert "control" in [text.get_text() for text in figure.legends[0].get_texts()]
        # Bands and boxes are those of the five.
        for ours, theirs in zip(figure.axes[0].collections, plain.axes[0].collections, strict=True):
            np.testing.assert_array_equal(ours.get_paths()[0].vertices, theirs.get_paths()[0].vertices)


class TestRegions:
    @pytest.mark.parametrize("name", list(REGIONS))
    def test_every_region_has_a_map_that_a_field_covers(self, name):
        region = REGIONS[name]
        longitude, latitude, values = globe(field_of(np.ones((32, 64))), region)
        assert values.shape == longitude.shape
        assert latitude.min() <= max(region.south, -90.0)
        assert latitude.max() >= min(region.north, 90.0)
        width = region.east - region.west + (360.0 if region.west > region.east else 0.0)
        assert longitude.max() - longitude.min() >= width
        assert (np.diff(longitude, axis=1) >= 0).all()
        axes = map_axes(Figure(), 1, 1, 1, region)
        assert np.isfinite([*axes.get_xlim(), *axes.get_ylim()]).all()
        assert 0.05 < aspect(region) < 2.0

    def test_values_of_a_box_across_greenwich_keep_their_place(self):
        field = field_of(np.tile(GRID.longitude, (32, 1)))
        longitude, _, values = globe(field, REGIONS["europe"])
        np.testing.assert_allclose(longitude % 360.0, values)
        assert longitude[0, 0] < 347.5 <= longitude[0, 1]

    def test_a_dense_grid_is_thinned_only_as_far_as_the_box_needs(self):
        grid = LatLonGrid(181, 720)
        coords = {"latitude": grid.latitude, "longitude": grid.longitude}
        field = xr.DataArray(np.ones((181, 720)), coords, ("latitude", "longitude"))
        assert globe(field)[2].shape[1] == 360 + 2
        assert globe(field, REGIONS["europe"])[2].shape[1] == 113

    def test_the_cap_of_habit_is_the_northern_one(self):
        assert northern_cap() == "northern-hemisphere"
        assert geography.region_named("europe") is REGIONS["europe"]
