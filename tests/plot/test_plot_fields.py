"""Maps, plumes and rank histograms; the maps without any network."""

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from cartopy.mpl.geoaxes import GeoAxes
from matplotlib.figure import Figure

from fuxi_ens.channels import HEADLINE
from fuxi_ens.errors import UserError
from fuxi_ens.grid import LatLonGrid
from fuxi_ens.plot import maps
from fuxi_ens.plot.fields import Case, Place, Stores, read_case, read_place
from fuxi_ens.plot.figure import figure_bytes
from fuxi_ens.plot.geography import globe
from fuxi_ens.plot.plume import plume, plume_caption
from fuxi_ens.plot.rank import rank_histograms, relative_frequency
from fuxi_ens.times import hours, lead_times
from fuxi_ens.verify.open import open_analysis, open_forecast


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a figure tried to reach the network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


def panels_of(figure: Figure) -> list[GeoAxes]:
    return [axes for axes in figure.axes if isinstance(axes, GeoAxes)]


def legend_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize("grid", [LatLonGrid(32, 64), LatLonGrid(121, 240)])
def test_maps_draw_coastlines_offline(make_case: Any, no_network: None, grid: LatLonGrid) -> None:
    figure = maps.forecast_maps(make_case("t2m", members=4, steps=20, grid=grid), hours(120))
    panels = panels_of(figure)
    assert [axes.get_title(loc="left").split(" ")[0] for axes in panels] == [
        "Ensemble",
        "Truth",
        "Spread",
        "Mean",
    ]
    for axes in panels:
        assert any("Feature" in type(artist).__name__ for artist in axes.get_children())
    assert len(figure_bytes(figure)) > 50_000
    assert "valid 1998-01-17 00 UTC" in figure.get_suptitle()


def test_map_titles_hold_area_weighted_numbers(make_case: Any) -> None:
    case = make_case("z500", members=4, steps=4)
    # 3 geopotential decameters apart.
    constant = Case(case.name, case.init_time, case.forecast * 0.0 + 7.0 * 98.0665, case.truth * 0.0 + 4.0 * 98.0665)
    titles = [axes.get_title(loc="left") for axes in panels_of(maps.forecast_maps(constant, hours(6)))]
    assert titles[2].startswith("Spread 0 ")
    assert titles[3].startswith("Mean minus truth, RMSE 3 dam")


def test_map_mesh_closes_the_globe() -> None:
    field = xr.DataArray(
        np.arange(8.0).reshape(2, 4), {"latitude": [45.0, -45.0], "longitude": [0.0, 90.0, 180.0, 270.0]}
    )
    longitude, latitude, values = globe(field)
    assert longitude[0].tolist() == [-180.0, -180.0, -90.0, 0.0, 90.0, 180.0]
    assert latitude[:, 0].tolist() == [-90.0, -45.0, 45.0, 90.0]
    assert values[1].tolist() == [6.0, 6.0, 7.0, 4.0, 5.0, 6.0]
    shifted = globe(field.assign_coords(longitude=[45.0, 135.0, 225.0, 315.0]))[2]
    assert shifted[2].tolist() == [1.5, 2.0, 3.0, 0.0, 1.0, 1.5]


def test_map_of_a_lead_time_that_is_missing_is_a_user_error(make_case: Any) -> None:
    with pytest.raises(UserError, match="do not both hold"):
        maps.forecast_maps(make_case(steps=4), hours(120))


def test_plume_shows_every_member_bands_mean_and_truth(make_case: Any) -> None:
    place = Place("Berlin", 52.5, 13.4)
    figure = plume([make_case("t2m"), make_case("z500")], place, "physics_ensemble")
    first = figure.axes[0]
    # 20 members, the mean, three lines of the baseline, the truth.
    assert len(first.lines) == 20 + 1 + 3 + 1
    assert len(first.collections) == 2
    assert legend_of(figure)[:3] == ["90 % of 20 members", "50 % of 20 members", "ensemble mean"]
    assert "physics ensemble, mean" in legend_of(figure)
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "\N{DEGREE SIGN}C",
        "dam",
    ]


def test_plume_takes_the_nearest_point_across_greenwich(make_case: Any) -> None:
    case = make_case(steps=2, members=2)
    point = case.at_place(Place("west of Greenwich", 0.0, -1.0))
    assert float(point.forecast["longitude"][0]) == 0.0
    assert float(point.baseline["latitude"][0]) == pytest.approx(2.8125, abs=6)
    assert "1.0\N{DEGREE SIGN}W" in plume_caption(case, Place("here", 0.0, 359.0))


def test_plume_without_baseline(make_case: Any) -> None:
    case = make_case(steps=8, members=3)
    figure = plume([Case(case.name, case.init_time, case.forecast, case.truth)], Place("x", 0.0, 0.0))
    assert not any("baseline" in label for label in legend_of(figure))


def test_case_with_wrong_dimensions_is_a_user_error(make_case: Any) -> None:
    case = make_case(steps=2, members=2)
    with pytest.raises(UserError, match="the truth of z500 has dimensions"):
        Case(case.name, case.init_time, case.forecast, case.forecast)


def test_cases_are_read_from_stores_in_any_layout(make_case: Any, tmp_path: Path) -> None:
    case = make_case("z500", members=3, steps=8, grid=LatLonGrid(6, 8))
    sources = {"forecast": case.forecast, "truth": case.truth, "baseline": case.baseline}
    for what, field in sources.items():
        names = {"lead_time": "prediction_timedelta"} if what != "truth" else {"valid_time": "time"}
        dataset = field.rename(names).expand_dims(level=[500]).to_dataset(name="geopotential")
        if what != "truth":
            dataset = dataset.expand_dims(time=[case.init_time])
        dataset.transpose(..., "longitude", "latitude").to_zarr(tmp_path / what, zarr_format=2)
    stores = Stores(
        open_forecast(str(tmp_path / "forecast")),
        open_analysis(str(tmp_path / "truth")),
        open_forecast(str(tmp_path / "baseline")),
    )
    leads = lead_times(hours(6), 8)
    read = read_case(stores, "z500", case.init_time, leads)
    for lead in (hours(6), hours(48)):
        for ours, theirs in zip(read.at_lead(lead), case.at_lead(lead), strict=True):
            np.testing.assert_allclose(ours, theirs)
    place = Place("here", 40.0, 100.0)
    point, expected = read_place(stores, "z500", case.init_time, leads, place), case.at_place(place)
    assert point.baseline is not None
    assert point.baseline.sizes["lead_time"] == 4
    for got, wanted in ((point.forecast, expected.forecast), (point.baseline, expected.baseline)):
        xr.testing.assert_allclose(got.transpose(*wanted.dims), wanted, check_dim_order=False)
    np.testing.assert_allclose(point.truth.squeeze(), expected.truth.squeeze())


def test_rank_histograms_show_multiples_of_uniform(rank_counts: xr.DataArray) -> None:
    leads = [hours(24), hours(240)]
    figure = rank_histograms(rank_counts, leads)
    assert len(figure.axes) == 2 * len(HEADLINE)
    assert [figure.axes[0].get_ylabel(), figure.axes[6].get_ylabel()] == ["day 1", "day 10"]
    heights = figure.axes[0].patches[0].get_data().values
    assert np.mean(heights) == pytest.approx(1.0)
    by_init_time = rank_counts.expand_dims(init_time=3)
    again = rank_histograms(by_init_time, leads)
    assert again.axes[0].patches[0].get_data().values == pytest.approx(heights)


def test_uniform_counts_have_frequency_one() -> None:
    np.testing.assert_allclose(relative_frequency(np.full(11, 7.0)), 1.0)
    with pytest.raises(UserError, match="all zero"):
        relative_frequency(np.zeros(4))
