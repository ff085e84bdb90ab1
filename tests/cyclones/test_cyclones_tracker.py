"""The tracker on vortices with a closed form, and the geometry below it."""

import numpy as np
import pytest
from cyclone_world import LATITUDE, LONGITUDE, RULES, along_great_circle, surface, vortex

from fuxi_ens.errors import StoreError
from fuxi_ens.verify.cyclones.sphere import (
    RADIUS_KM,
    along_across_km,
    distance_km,
    mean_position,
)
from fuxi_ens.verify.cyclones.tracker import next_center
from fuxi_ens.verify.cyclones.vorticity import relative_vorticity


def follow_once(center, last=None, land=0.0, rules=RULES, **kind):
    return next_center(vortex(center, **kind), surface(land), last or center, rules, "a test")


class TestVorticity:
    def test_solid_body_rotation_is_exact(self):
        latitude, speed = LATITUDE[10:111], 40.0
        u = speed * np.cos(np.deg2rad(latitude))[:, None] * np.ones(240)
        expected = 2 * speed / (RADIUS_KM * 1e3) * np.sin(np.deg2rad(latitude))[:, None] * np.ones(240)
        got = relative_vorticity(u, np.zeros_like(u), latitude, LONGITUDE)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-17)
        turned = relative_vorticity(u[::-1], np.zeros_like(u), latitude[::-1], LONGITUDE)
        np.testing.assert_allclose(turned[::-1], got, rtol=0, atol=1e-18)

    def test_rotation_about_a_tilted_axis_converges_and_has_no_seam(self):
        tilt, speed = np.deg2rad(50.0), 40.0
        north, east = np.deg2rad(LATITUDE[10:111])[:, None], np.deg2rad(LONGITUDE)[None, :]
        u = speed * (np.cos(north) * np.cos(tilt) + np.sin(north) * np.cos(east) * np.sin(tilt))
        v = -speed * np.sin(east) * np.sin(tilt) * np.ones_like(north)
        axis = np.sin(north) * np.cos(tilt) - np.cos(north) * np.cos(east) * np.sin(tilt)
        expected = 2 * speed / (RADIUS_KM * 1e3) * axis
        got = relative_vorticity(u, v, LATITUDE[10:111], LONGITUDE)
        # Second order in 1.5 degrees, with a factor that grows toward the poles.
        unit = 2 * speed / (RADIUS_KM * 1e3)
        np.testing.assert_allclose(got[10:-10], expected[10:-10], rtol=0, atol=2e-3 * unit)
        np.testing.assert_allclose(got, expected, rtol=0, atol=2e-2 * unit)

    def test_poles_have_none(self):
        got = relative_vorticity(np.ones((121, 240)), np.ones((121, 240)), LATITUDE, LONGITUDE)
        assert np.isnan(got[[0, -1]]).all()
        assert np.isfinite(got[1:-1]).all()


class TestSphere:
    def test_distance_is_that_along_the_great_circle(self):
        for azimuth in (0.0, 37.0, 90.0, 211.0):
            end = along_great_circle((60.0, 179.0), azimuth, 900.0)
            np.testing.assert_allclose(distance_km((60.0, 179.0), end), 900.0, rtol=1e-9)

    def test_the_mean_across_the_dateline_is_near_it(self):
        latitude, longitude = mean_position(np.array([10.0, 10.0]), np.array([179.0, 183.0]))
        assert longitude == pytest.approx(181.0)
        assert latitude == pytest.approx(10.0, abs=0.01)
        assert mean_position(np.array([0.0, 0.0]), np.array([359.0, 3.0]))[1] == pytest.approx(1.0)

    def test_lost_members_are_left_out_of_the_mean(self):
        latitude, longitude = mean_position(np.array([[20.0, np.nan], [np.nan, np.nan]]), np.array([[5.0, 1.0]] * 2))
        np.testing.assert_allclose([latitude[0], longitude[0]], [20.0, 5.0])
        assert np.isnan(latitude[1])

    @pytest.mark.parametrize(
        ("azimuth", "along", "across"),
        [(90.0, 100.0, 0.0), (180.0, 0.0, 100.0), (0.0, 0.0, -100.0), (270.0, -100.0, 0.0)],
    )
    def test_errors_along_and_across_the_motion(self, azimuth, along, across):
        truth, before = (0.0, 1.0), (0.0, 359.0)  # eastward, over Greenwich
        got = along_across_km(along_great_circle(truth, azimuth, 100.0), truth, before)
        np.testing.assert_allclose(got, (along, across), atol=1e-6)

    def test_a_storm_that_stands_still_has_no_direction(self):
        assert np.isnan(along_across_km((1.0, 1.0), (0.0, 0.0), (0.0, 0.0))).all()


class TestOneStep:
    @pytest.mark.parametrize(
        "center", [(15.3, 130.4), (-14.2, 60.9), (20.1, 179.8), (20.1, 0.3), (18.0, 359.6), (44.7, 200.2), (68.3, 10.1)]
    )
    @pytest.mark.parametrize("azimuth", [20.0, 200.0, 290.0])
    def test_a_center_is_found_within_a_few_kilometers(self, center, azimuth):
        last = tuple(float(part) for part in along_great_circle(center, azimuth, 300.0))
        found = follow_once(center, last)
        # Parabolas through a Gaussian that is sampled every 167 km.
        assert distance_km(center, found[:2]) < 17.0
        assert 97900.0 < found.pressure < 99500.0

    def test_a_minimum_farther_than_the_search_radius_is_lost(self):
        center = (15.0, 130.5)  # a grid point, where distances are measured
        near, far = (tuple(map(float, along_great_circle(center, 90.0, d))) for d in (430.0, 460.0))
        assert follow_once(center, near) is not None
        assert follow_once(center, far) is None

    @pytest.mark.parametrize("latitude", [15.0, -15.0])
    def test_wind_that_turns_the_wrong_way_is_no_cyclone(self, latitude):
        assert follow_once((latitude, 130.0), sense=np.sign(latitude)) is not None
        assert follow_once((latitude, 130.0), sense=-np.sign(latitude)) is None

    def test_weak_vorticity_is_no_cyclone(self):
        assert follow_once((15.0, 130.0), wind=3.0) is None

    def test_outside_the_tropics_a_cyclone_needs_a_warm_core(self):
        assert follow_once((40.0, 130.0), warm=False) is None
        assert follow_once((20.0, 130.0), warm=False) is not None
        assert follow_once((40.0, 130.0), warm=False, rules=RULES.model_copy(update={"thickness": False})) is not None

    def test_over_land_a_cyclone_needs_wind(self):
        weak = {"wind": 10.0}  # 7 m/s at 10 m
        assert follow_once((15.0, 130.0), land=0.0, **weak) is not None
        assert follow_once((15.0, 130.0), land=1.0, **weak) is None
        assert follow_once((15.0, 130.0), land=1.0) is not None

    def test_of_two_the_deeper_is_taken(self):
        one, two = vortex((15.0, 130.0), depth=2000.0), vortex((15.0, 134.5), depth=4000.0)
        fields = {name: one[name] + two[name] for name in one}
        found = next_center(fields, surface(), (15.0, 131.0), RULES, "a test")
        assert found.longitude > 133.0

    def test_pressure_without_a_value_is_told(self):
        fields = vortex((15.0, 130.0))
        fields["msl"][50] = np.nan
        with pytest.raises(StoreError, match=r"member 3: mean sea-level pressure is missing near 15\.0 N"):
            next_center(fields, surface(), (15.0, 130.0), RULES, "member 3")

    @pytest.mark.parametrize("last", [(89.9, 0.0), (-90.0, 10.0), (90.0, 0.0)])
    def test_at_a_pole_nothing_is_found_and_nothing_breaks(self, last):
        assert follow_once((0.0, 130.0), last, sense=1.0) is None
