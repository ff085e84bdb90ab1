"""World maps of score differences: units, numbers in the titles, dots, and their place in report and folder."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import PathCollection

from fuxi_ens.grid import LatLonGrid, area_weights
from fuxi_ens.plot.compose import Evidence, compose_report
from fuxi_ens.plot.difference_maps import difference_maps, significant_shares
from fuxi_ens.plot.publish import publish
from fuxi_ens.times import hours

GRID = LatLonGrid(32, 64)


def maps_of(names: tuple[str, ...] = ("z500",), leads: tuple[int, ...] = (24, 120)) -> xr.Dataset:
    """Ours is better in the north and significantly so there; a hole without truth."""
    north = np.where(GRID.latitude > 0, -200.0, 100.0)[:, None] * np.ones(64)
    north[16, :8] = np.nan
    shape = (len(names), len(leads), 32, 64)
    dims = ("name", "lead_time", "latitude", "longitude")
    return xr.Dataset(
        {
            "difference": (dims, np.broadcast_to(north, shape)),
            "reference": (dims, np.full(shape, 400.0)),
            "significant": (dims, np.broadcast_to(north < 0, shape)),
            "init_times": (dims[:2], np.full(shape[:2], 730)),
            "tested": (dims[:2], np.ones(shape[:2], bool)),
        },
        {"name": list(names), "lead_time": np.array([hours(lead) for lead in leads])}
        | {"latitude": GRID.latitude, "longitude": GRID.longitude},
        {"system": "fuxi_ens", "reference": "physics_ensemble", "level": 0.05},
    )


def map_axes(figure):
    return [axes for axes in figure.axes if hasattr(axes, "projection")]


def dots_of(axes) -> np.ndarray:
    return np.concatenate([part.get_offsets() for part in axes.collections if isinstance(part, PathCollection)])


def test_there_is_a_panel_per_lead_time_with_mean_and_shares() -> None:
    figure = difference_maps(maps_of(("msl",)), "msl")
    titles = [axes.get_title(loc="left") for axes in map_axes(figure)]
    assert [title.split(":")[0] for title in titles] == ["Day 1", "Day 5"]
    weight = area_weights(GRID.latitude)[:, None] * np.ones(64)
    weight[16, :8] = 0.0
    mean = (weight[:16] * -200).sum() + (weight[16:] * 100).sum()
    # Pascal become hectopascal.
    assert f"mean \N{MINUS SIGN}{-mean / weight.sum() / 100:.2f} hPa" in titles[0]
    assert "better on 50 % of the area, worse on 0 %" in titles[0]


def test_a_map_without_test_says_so() -> None:
    maps = maps_of(leads=(24,))
    untested = maps.assign(tested=~maps["tested"], significant=xr.zeros_like(maps["significant"]))
    (axes,) = map_axes(difference_maps(untested, "z500"))
    assert axes.get_title(loc="left").endswith("significance could not be tested")


def test_shares_are_of_the_area_with_a_truth() -> None:
    one = maps_of().isel(name=0, lead_time=0)
    weight = area_weights(GRID.latitude)[:, None] * np.ones(64)
    weight[16, :8] = 0.0
    assert significant_shares(one) == (pytest.approx(100 * weight[:16].sum() / weight.sum()), 0.0)


def test_dots_lie_on_significant_points_only() -> None:
    axes = map_axes(difference_maps(maps_of(leads=(24,)), "z500"))[0]
    dots = dots_of(axes)
    assert len(dots) > 200
    assert (dots[:, 1] > 0).all()
    assert set(np.round(dots[:, 1], 4)) <= set(np.round(GRID.latitude, 4))


def test_dots_of_a_fine_grid_are_about_as_many_as_of_a_coarse_one() -> None:
    fine = LatLonGrid(121, 240)
    maps = maps_of(leads=(24,)).interp(latitude=fine.latitude, longitude=fine.longitude, method="nearest")
    maps["significant"] = maps["difference"] < 0
    axes = map_axes(difference_maps(maps, "z500"))[0]
    dots = dots_of(axes)
    assert 300 < len(dots) < 1500


def test_a_report_shows_them_and_the_folder_holds_them(evidence: Evidence, tmp_path: Path) -> None:
    pair = "fuxi_ens", "physics_ensemble"
    shown = replace(evidence, difference_maps={pair: maps_of()}, maps=(), plumes=(), ranks=None)
    section = next(part for part in compose_report(shown).sections if part.anchor == "where-physics-ensemble")
    assert len(section.pictures) == 1
    assert "5\N{NO-BREAK SPACE}% of false discoveries" in section.text
    assert section.text.endswith("Init times: 730.")
    publish(shown, shown.scores.table, tmp_path)
    assert (tmp_path / "difference_z500_fuxi_ens_physics_ensemble.png").stat().st_size > 10_000
    stored = xr.load_dataset(tmp_path / "maps_fuxi_ens_physics_ensemble.nc", engine="scipy", decode_timedelta=True)
    np.testing.assert_array_equal(stored["difference"], maps_of()["difference"])


def test_maps_of_another_system_are_not_ours(evidence: Evidence) -> None:
    shown = replace(evidence, difference_maps={("another", "physics_ensemble"): maps_of()}, maps=(), plumes=())
    assert not [part for part in compose_report(shown).sections if part.anchor.startswith("where")]
