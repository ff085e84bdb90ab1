"""Further systems side by side: what they lack, what all share, and that they leave the others alone."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from verify_world import INIT_TIMES, PROVENANCE, hours, make_forecast, weatherbench_order, write

from fuxi_ens.errors import ConfigError, StoreError
from fuxi_ens.plot.style import role_style
from fuxi_ens.provenance import config_hash
from fuxi_ens.verify.files import read_statistics
from fuxi_ens.verify.memory import memory_expected
from fuxi_ens.verify.open import open_analysis, open_forecast
from fuxi_ens.verify.run import verify
from fuxi_ens.verify.scorecard import scorecard

FAMILIES = ("ensemble", "ranks", "multivariate", "hersbach")


@pytest.fixture
def gencast(world, rng):
    """An ensemble of daily lead times, without sea temperature, in another order."""
    data = make_forecast(rng, 3, hours(24)).drop_vars("sea_surface_temperature")
    write(weatherbench_order(data), world.folder / "gencast.zarr")
    return data


@pytest.fixture
def hres(world, rng):
    """A single forecast without `number`, which starts at its own analysis."""
    data = make_forecast(rng, 1, hours(0, 6, 12, 24)).isel(number=0, drop=True)
    encoding = {"prediction_timedelta": {"units": "hours", "dtype": "int64"}}
    data.to_zarr(world.folder / "hres.zarr", encoding=encoding, zarr_format=2, consolidated=True)
    return data


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def other(world, name, **changes):
    return {"name": name, "store": f"{world.folder}/{name}.zarr", **changes}


def run(world, *others, **section):
    config = world.config(others=list(others), **section)
    verify(config, world.folder / "scores", world.forecast_store, PROVENANCE)
    return scorecard(read_statistics([world.folder / "scores"]))


def values(table, system, name, score, region="global"):
    rows = table[(table[["system", "name", "score", "region"]] == [system, name, score, region]).all(axis=1)]
    return rows.set_index("lead_time")["value"]


def test_every_system_is_scored_where_it_has_fields(world, gencast, hres):
    table = run(world, other(world, "gencast"), other(world, "hres"))
    assert set(table["system"]) == {"ours", "theirs", "gencast", "hres", "climatology", "persistence"}
    held = table.groupby("system")["name"].unique()
    assert list(held["gencast"]) == ["z500", "ws10m"]
    assert list(held["hres"]) == ["z500", "ws10m", "sst"] == list(held["ours"])
    assert list(values(table, "gencast", "z500", "rmse").index) == [pd.Timedelta("24h")]
    assert list(values(table, "hres", "z500", "rmse").index) == [pd.Timedelta(text) for text in ("6h", "12h", "24h")]


def test_scores_of_a_further_ensemble_are_those_of_a_baseline(world, gencast):
    beside = run(world, other(world, "gencast"), channels=["z500", "ws10m"], scores=FAMILIES)
    alone = verify(
        world.config(baseline=f"{world.folder}/gencast.zarr", channels=["z500", "ws10m"], scores=FAMILIES),
        world.folder / "alone",
        world.forecast_store,
        PROVENANCE,
    )
    table = scorecard(read_statistics([alone[0].parents[1]]))
    for score in table.loc[table["system"] == "theirs", "score"].unique():
        for name in ("z500", "ws10m"):
            expected = values(table, "theirs", name, score)
            pd.testing.assert_series_equal(values(beside, "gencast", name, score), expected, obj=f"{score} {name}")


def test_the_crps_of_a_single_forecast_is_its_absolute_error(world, hres):
    table = run(world, other(world, "hres"))
    rows = table[table["system"] == "hres"]
    assert set(rows.loc[rows["score"] == "crps", "estimator"]) == {"standard"}
    assert set(rows["members"]) == {1}
    error = [
        abs(
            hres["geopotential"].sel(level=500, prediction_timedelta="24h", time=time)
            - world.truth["geopotential"].sel(level=500, time=time + pd.Timedelta("24h"))
        )
        for time in INIT_TIMES
    ]
    sine = np.sin(np.deg2rad(np.linspace(90, -90, 9)))
    weights = xr.DataArray(sine[:-1] - sine[1:], {"latitude": hres["latitude"]}, dims="latitude")
    expected = xr.concat(error, "time", coords="minimal", compat="override").weighted(weights).mean()
    found = values(table, "hres", "z500", "crps")[pd.Timedelta("24h")]
    assert found == pytest.approx(float(expected), rel=1e-6)


def test_a_single_forecast_has_no_scores_of_ensembles(world, hres):
    run(world, other(world, "hres"), scores=FAMILIES)
    found = read_statistics([world.folder / "scores"])
    assert found["hres"].attrs["role"] == "single"
    assert found["hres"].attrs["families"] == "ensemble multivariate"


def test_only_init_times_of_all_systems_count(world, gencast):
    write(gencast.isel(time=[0, 2]), world.folder / "gencast.zarr")
    assert set(run(world, other(world, "gencast"))["n_init"]) == {2}


def test_each_system_has_its_own_truth(world, hres):
    shifted = world.truth.assign(geopotential=world.truth["geopotential"] + 1000.0)
    write(shifted, world.folder / "analysis.zarr")
    bias = {
        truth: values(
            run(world, other(world, name, store=f"{world.folder}/hres.zarr", truth=truth)), name, "z500", "bias"
        )
        for name, truth in (("a", ""), ("b", f"{world.folder}/analysis.zarr"))
    }
    near, far = bias.values()
    np.testing.assert_allclose(near - far, 1000.0, atol=0.01)


def test_a_further_system_leaves_the_statistics_of_others_alone(world, gencast):
    run(world)
    before = {path: path.stat().st_mtime_ns for path in (world.folder / "scores").rglob("*.nc")}
    run(world, other(world, "gencast"))
    assert before == {path: path.stat().st_mtime_ns for path in before}
    config = world.config(), world.config(others=[other(world, "gencast")])
    assert len({config_hash(c, c.data, c.forecast, c.verify) for c in config}) == 1


def test_another_store_under_the_same_name_is_refused(world, gencast, hres):
    run(world, other(world, "gencast"))
    with pytest.raises(StoreError, match="store"):
        run(world, other(world, "gencast", store=f"{world.folder}/hres.zarr"))


@pytest.mark.parametrize("name", ["ours", "theirs", "climatology"])
def test_names_must_differ(world, gencast, name):
    with pytest.raises(ConfigError, match=r"verify\.forecast_name, baseline_name or others"):
        run(world, other(world, name))


def test_a_system_with_nothing_to_score_is_refused(world, gencast):
    write(gencast[["10m_u_component_of_wind"]], world.folder / "gencast.zarr")
    with pytest.raises(StoreError, match="geopotential"):
        run(world, other(world, "gencast"))


def test_another_grid_is_refused(world, gencast):
    write(gencast.isel(longitude=slice(None, None, 2)), world.folder / "gencast.zarr")
    with pytest.raises(StoreError, match="regrid one of them"):
        run(world, other(world, "gencast"))


def test_memory_is_predicted_for_the_largest_of_all(world, rng):
    write(make_forecast(rng, 40, hours(24)), world.folder / "large.zarr")
    config, truth = world.config(), open_analysis(f"{world.folder}/truth.zarr")
    baseline, large = (open_forecast(f"{world.folder}/{name}.zarr") for name in ("baseline", "large"))
    config = config.model_copy(update={"forecast": config.forecast.model_copy(update={"members": 2})})
    alone, beside, only = (
        memory_expected(config, stores, truth, 1).each for stores in ([baseline], [baseline, large], [large])
    )
    assert alone < beside == only


def test_any_number_of_systems_is_told_apart():
    styles = {(style.color, str(style.dashes)) for style in (role_style(f"other {n}") for n in range(1, 10))}
    assert len(styles) == 9
