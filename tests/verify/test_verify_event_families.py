"""Families of events: masks, thresholds and labels on blocks, and the whole chain from stores to rows and curves."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from score_blocks import cases, make_block, scores_of, statistics
from verify_world import GRID, PROVENANCE

from fuxi_ens.errors import StoreError
from fuxi_ens.verify.families.events import PrecipitationEvents, QuantileEvents
from fuxi_ens.verify.files import read_statistics
from fuxi_ens.verify.run import verify
from fuxi_ens.verify.scorecard import scorecard, write_curves
from pipelines.scorecard import scorecard as scorecard_command


@pytest.mark.parametrize(
    ("quantile", "label", "shift", "rate"), [(0.9, "above_q90", 1.28, 0.1), (0.02, "below_q2", -2.05, 0.02)]
)
def test_brier_scores_of_quantile_events(rng, quantile, label, shift, rate):
    blocks = [make_block(rng, 5, day=day, holes=7) for day in range(8)]
    result = scores_of(QuantileEvents((quantile,)), blocks)
    x, y, c, w = cases(blocks)
    limit = (c.astype(np.float32) + np.float32(shift)).astype(np.float32)
    sign = 1 if quantile > 0.5 else -1
    p, o = (sign * x > sign * limit[:, None]).mean(axis=1), sign * y > sign * limit
    brier = np.average((p - o) ** 2 - p * (1 - p) / 4, weights=w)
    assert result[f"brier_{label}"][0] == pytest.approx(brier, rel=1e-9)
    assert result[f"brier_skill_{label}"][0] == pytest.approx(
        1 - brier / np.average((rate - o) ** 2, weights=w), rel=1e-9
    )
    assert result[f"base_rate_{label}"][0] == pytest.approx(np.average(o, weights=w), rel=1e-12)


def test_every_event_has_its_own_scores(rng):
    result = scores_of(QuantileEvents((0.05, 0.9)), [make_block(rng)])
    assert {name.partition("_q")[2] for name in result} == {"5", "90"}
    assert len(result) == 14


def dry_block(rng):
    block = make_block(rng, 4, "tp")
    amounts = np.maximum(block.ensemble, 0), np.maximum(block.truth, 0)
    return replace(block, ensemble=amounts[0], truth=amounts[1])


def test_dry_quantiles_of_precipitation_are_masked(rng):
    block = dry_block(rng)
    data = statistics(QuantileEvents((0.1, 0.9)), [block]).squeeze()
    wet = block.climatology.quantile(0.9) > 0
    weight = data["event_forecasts"].sum("count").sel(quantile_event="above_q90", region="global")
    whole = block.areas.weight(wet)[0]
    assert 0 < whole < float(block.weight[0])
    assert float(weight) == pytest.approx(whole)


def test_low_quantiles_of_temperature_below_zero_are_kept(rng):
    data = statistics(QuantileEvents((0.1,)), [make_block(rng)]).squeeze()
    assert float(data["event_forecasts"].sum("count").sel(region="global")) == pytest.approx(8 * 16)


def test_points_without_a_quantile_are_masked(rng):
    block = make_block(rng)
    block.climatology.mean()[0, :3] = np.nan
    data = statistics(QuantileEvents((0.9,)), [block]).squeeze()
    known = ~np.isnan(block.climatology.mean())
    assert float(data["event_forecasts"].sum("count").sel(region="global")) == pytest.approx(
        block.areas.weight(known)[0]
    )


def test_amounts_of_precipitation_are_in_millimeters(rng):
    block = dry_block(rng)
    block = replace(block, ensemble=block.ensemble * np.float32(1e-3), truth=block.truth * np.float32(1e-3))
    result = scores_of(PrecipitationEvents((1.0,)), [block])
    _, y, _, w = cases([block])
    assert result["base_rate_above_1mm"][0] == pytest.approx(np.average(y > 1e-3, weights=w))


def test_names_that_are_no_precipitation_have_no_amounts(rng):
    data = statistics(PrecipitationEvents((1.0,)), [make_block(rng)])
    assert all(score.sizes["name"] == 0 for score in PrecipitationEvents.scores(data).values())


LEAD = pd.Timedelta("12h")
FAMILIES = ["ensemble", "ranks", "spread", "anomaly", "tails", "wind", "events"]


def save_climatology(world, name="climatology.zarr", **attributes):
    """Means of zero (of 55000 for geopotential) and normal quantiles, everywhere and always."""
    quantiles = {0.1: -1.28, 0.9: 1.28}
    data = xr.Dataset(
        coords={"hour": [0, 6, 12, 18], "dayofyear": np.arange(1, 367), "quantile": list(quantiles), "level": [500]}
        | {"latitude": GRID.latitude, "longitude": GRID.longitude}
    )
    dims = ("hour", "dayofyear", "latitude", "longitude")
    mean, shift = np.zeros((4, 366, 8, 16), np.float32), np.array(list(quantiles.values()), np.float32)
    spread = ((dims[0], "quantile", *dims[1:]), np.broadcast_to(shift[:, None, None, None], (4, 2, 366, 8, 16)))
    for variable in ("10m_wind_speed", "sea_surface_temperature"):
        data[variable], data[f"{variable}_quantile"] = (dims, mean), spread
    upper = (*dims[:2], "level", *dims[2:])
    data["geopotential"] = upper, mean[:, :, None] + np.float32(5.5e4)
    data["geopotential_quantile"] = 50 * data["sea_surface_temperature_quantile"].expand_dims(level=[500]) + 5.5e4
    data.attrs = attributes or {"periods": "2017-01-01T00:00:00..2018-12-31T18:00:00"}
    data.astype("f4").to_zarr(world.folder / name, zarr_format=2, consolidated=True)


def test_families_reach_the_table_and_the_curves(world):
    save_climatology(world)
    config = world.config(scores=FAMILIES, event_quantiles=[0.1, 0.9])
    verify(config, world.folder / "scores", world.forecast_store, PROVENANCE)
    found = read_statistics([world.folder / "scores"])
    table = scorecard(found)
    rows = table.query("system == 'ours' and region == 'global' and lead_time == @LEAD")
    rows = rows.set_index(["name", "score"])["value"]
    # No wind speed lies below a negative quantile: the event never occurred, and there is no hit rate.
    assert rows[rows.isna()].index.tolist() == [("ws10m", "roc_area_below_q10")]
    for score in ("acc", "activity_members", "spread_skill_unbiased", "crps_above_q90", "brier_below_q10"):
        assert {"z500", "ws10m", "sst"} <= set(rows.xs(score, level="score").index)
    assert list(rows.xs("crps_vector", level="score").index) == ["ws10m"]
    labelled = table.query("score == 'brier_above_q90'")
    assert set(labelled["estimator"]) == {"fair"}
    assert set(labelled["system"]) == {"ours", "theirs"}
    paths = write_curves(found, world.folder)
    assert [path.name for path in paths] == ["curves_ours.nc", "curves_theirs.nc"]
    curves = xr.load_dataset(paths[0], engine="scipy", decode_timedelta=True)
    hit = curves["quantile_event_roc_hit_rate"].sel(name="z500", region="global", quantile_event="above_q90")
    assert hit.isel(lead_time=0).values[[0, -1]].tolist() == [0.0, 1.0]


def test_the_command_writes_rows_and_curves_of_all_families(world):
    save_climatology(world)
    everything = [*FAMILIES, "precipitation_events", "hersbach", "spectra", "multivariate"]
    config = world.config(scores=everything, event_quantiles=[0.1, 0.9])
    verify(config, world.folder / "scores", world.forecast_store, {**PROVENANCE, "run_name": "world"})
    scorecard_command([world.folder / "scores"], world.folder / "card")
    table = pd.read_csv(world.folder / "card" / "scorecard.csv")
    found = set(table["score"])
    assert {"energy_score", "variogram_score", "hersbach_potential", "small_scale_power", "outlier_fraction"} <= found
    spectra = table.query("score == 'small_scale_power'")
    assert set(spectra["region"]) == {"global"}
    # Sea temperature has gaps, and so no spectrum.
    assert set(spectra["name"]) == {"z500", "ws10m"}
    assert spectra["value"].notna().all()
    parts = table.query("score in ('hersbach_reliability', 'hersbach_potential') and name == 'z500'")
    assert (parts.groupby(["system", "region", "lead_time_hours"])["value"].sum() > 0).all()
    curves = xr.load_dataset(world.folder / "card" / "curves_theirs.nc", engine="scipy", decode_timedelta=True)
    assert curves["lead_time"].values.tolist() == pd.to_timedelta([12, 24], unit="h").to_numpy("m8[ns]").tolist()
    assert curves["power_members"].sel(name="z500").notnull().all()
    assert curves["energy_truth"].sel(name="ws10m").notnull().all()
    assert curves.attrs["truth"] == f"{world.folder}/truth.zarr"


def test_speed_read_by_components_has_the_same_bits(world):
    save_climatology(world)
    scored = {}
    for families in (["ensemble"], ["ensemble", "wind"]):
        out = world.folder / "-".join(families)
        verify(world.config(scores=families), out, world.forecast_store, PROVENANCE)
        scored[len(families)] = read_statistics([out])["ours"]["crps_fair"]
    xr.testing.assert_identical(scored[1], scored[2])


def test_persistence_skill_is_a_ratio_of_mean_errors(world):
    verify(world.config(), world.folder / "scores", world.forecast_store, PROVENANCE)
    table = scorecard(read_statistics([world.folder / "scores"]))
    cell = table.query("name == 'z500' and region == 'global' and lead_time == @LEAD")
    value = cell.set_index(["system", "score"])["value"]
    ratio = value["ours", "crps"] / value["persistence", "mae"]
    assert value["ours", "crpss_persistence"] == pytest.approx(1 - ratio, rel=1e-12)
    assert ("persistence", "crpss_persistence") not in value


def test_climatology_of_the_test_year_is_refused_in_the_chain(world):
    save_climatology(world, periods="2017-01-01T00:00:00..2019-12-31T18:00:00")
    config = world.config(scores=["ensemble", "anomaly"])
    with pytest.raises(StoreError, match="allow_seen_climatology"):
        verify(config, world.folder / "scores", world.forecast_store, PROVENANCE)
    forced = world.config(scores=["ensemble", "anomaly"], allow_seen_climatology=True)
    paths = verify(forced, world.folder / "scores", world.forecast_store, PROVENANCE)
    attributes = xr.load_dataset(paths[0], engine="scipy", decode_timedelta=True).attrs
    assert "holds 2019-01-10" in attributes["day_climatology_caveat"]
