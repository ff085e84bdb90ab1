"""The whole chain on small stores, against an independent computation with loops; refusals; restarts."""

import logging
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from verify_world import INIT_TIMES, PROVENANCE, make_forecast, write

from fuxi_ens.errors import ConfigError, StoreError
from fuxi_ens.grid import REGIONS
from fuxi_ens.provenance import config_hash
from fuxi_ens.verify.files import read_statistics
from fuxi_ens.verify.memory import memory_needed
from fuxi_ens.verify.opened import open_systems
from fuxi_ens.verify.run import verify
from fuxi_ens.verify.scorecard import scorecard
from fuxi_ens.verify.work import open_scorers


def run(world, **section):
    return verify(world.config(**section), world.folder / "scores", world.forecast_store, PROVENANCE)


def raw(data, name):
    if name == "ws10m":
        return np.sqrt(data["10m_u_component_of_wind"] ** 2 + data["10m_v_component_of_wind"] ** 2)
    return data["geopotential"].sel(level=500) if name == "z500" else data["sea_surface_temperature"]


def loops(forecast, truth, name, region, lead):
    """Fair CRPS, RMSE and spread-skill ratio over INIT_TIMES, point by point in float64."""
    box = REGIONS[region].mask(truth.latitude.values, truth.longitude.values)
    edges = np.sin(np.deg2rad([90, 67.5, 45, 22.5, 0, -22.5, -45, -67.5, -90]))
    total = crps = squared = spread = 0.0
    for init_time in INIT_TIMES:
        x = (
            raw(forecast, name)
            .sel(time=init_time, prediction_timedelta=lead)
            .transpose("number", ...)
            .values.astype(float)
        )
        y = raw(truth, name).sel(time=init_time + lead).values.astype(float)
        for i, j in np.argwhere(box & ~np.isnan(y)):
            members, weight = x[:, i, j], edges[i] - edges[i + 1]
            count = len(members)
            pairs = sum(abs(a - b) for a in members for b in members)
            crps += weight * (np.mean(abs(members - y[i, j])) - pairs / (2 * count * (count - 1)))
            squared += weight * (members.mean() - y[i, j]) ** 2
            spread += weight * members.var(ddof=1) * (count + 1) / count
            total += weight
    return {"crps": crps / total, "rmse": np.sqrt(squared / total), "spread_skill_ratio": np.sqrt(spread / squared)}


def test_scores_are_those_of_independent_loops(world):
    run(world)
    table = scorecard(read_statistics([world.folder / "scores"]))
    for wanted, data, lead in (
        ("ours", world.forecast, "6h"),
        ("ours", world.forecast, "24h"),
        ("theirs", world.baseline, "24h"),
    ):
        for name, region in (("z500", "global"), ("ws10m", "tropics"), ("sst", "europe")):
            lead_time = pd.Timedelta(lead)
            keys = [wanted, name, region, lead_time]
            rows = table[(table[["system", "name", "region", "lead_time"]] == keys).all(axis=1)].set_index("score")
            for score, expected in loops(data, world.truth, name, region, lead_time).items():
                # The stores hold float32: 1e-6 of the error at each point.
                assert rows["value"][score] == pytest.approx(expected, rel=3e-6)
            assert set(rows["n_init"]) == {3}
            assert set(rows["members"]) == {data.sizes["number"]}
            assert rows["estimator"]["crps"] == "fair"


def test_climatology_and_persistence_are_made_from_the_truth(world):
    run(world)
    table = scorecard(read_statistics([world.folder / "scores"])).set_index(
        ["system", "name", "region", "lead_time", "score"]
    )["value"]
    lead = pd.Timedelta("12h")
    persistence, climatology = [], []
    for init_time in INIT_TIMES:
        fields = raw(world.truth, "z500")
        truth = fields.sel(time=init_time + lead).astype(float)
        persistence.append(abs(fields.sel(time=init_time).astype(float) - truth))
        day = init_time + lead
        times = [day.replace(year=year) + pd.Timedelta(days=5 * k) for year in (2017, 2018) for k in range(-2, 3)]
        members = fields.sel(time=[time for time in times if time in fields.indexes["time"]])
        climatology.append((members.astype(float).mean("time") - truth) ** 2)
    weights = np.cos(np.deg2rad(world.truth.latitude))  # equals cell area without pole rows
    mean = xr.concat(persistence, "init").weighted(weights).mean()
    squared = xr.concat(climatology, "init").weighted(weights).mean()
    where = ("z500", "global", lead)
    assert table["persistence", *where, "crps"] == pytest.approx(float(mean), rel=1e-6)
    assert table["persistence", *where, "mae"] == pytest.approx(float(mean), rel=1e-6)
    assert table["climatology", *where, "rmse"] == pytest.approx(float(np.sqrt(squared)), rel=1e-6)
    ratio = table["ours", *where, "crps"] / table["climatology", *where, "crps"]
    assert table["ours", *where, "crpss_climatology"] == pytest.approx(1 - ratio, rel=1e-12)


def test_climatology_members_never_come_from_verified_times(world):
    # Periods that overlap the verified times: impossible through data.test, possible for leads beyond it.
    config = world.config()
    systems, sample = open_systems(config, world.forecast_store)
    climatology = systems[2]
    everything = {
        "periods": [{"start": "2017-01-01", "end": "2019-12-31"}],
        "window_days": 10,
        "stride_days": 1,
    }
    greedy = type(climatology).from_config(
        config.verify.climatology.model_validate(everything), climatology.truth, sample.valid_times
    )
    for valid_time in sample.valid_times:
        for system in (climatology, greedy):
            members = system.member_times("z500", valid_time)
            assert not np.isin(members, sample.valid_times).any()
            assert len(set(pd.DatetimeIndex(members).hour)) == 1
        assert set(pd.DatetimeIndex(climatology.member_times("z500", valid_time)).year) == {2017, 2018}
    # 24 and 29 December are in no period of the store: fewer members, no error.
    assert len(climatology.member_times("z500", np.datetime64("2019-01-03T00", "ns"))) == 6
    with pytest.raises(StoreError, match=r"expected at least 2.*widen"):
        climatology.member_times("z500", np.datetime64("2019-06-01T00", "ns"))


def test_leap_day_has_a_climatology(world):
    systems, _ = open_systems(world.config(), world.forecast_store)
    available = pd.DatetimeIndex(["2017-02-28", "2018-02-28", "2018-03-01"])
    climatology = type(systems[2])(systems[2].truth, available, pd.to_timedelta([0], unit="D"))
    members = climatology.member_times("z500", np.datetime64("2020-02-29", "ns"))
    assert pd.DatetimeIndex(members).strftime("%Y-%m-%d").tolist() == ["2017-02-28", "2018-02-28"]


def test_sample_is_common_to_all_systems(world, caplog):
    world.baseline = world.baseline.isel(time=[0, 1])
    keep = world.truth["time"] != np.datetime64("2019-01-10T18")
    world.truth = world.truth.sel(time=keep)
    world.save()
    with caplog.at_level(logging.INFO):
        run(world)
    assert "dropped 1 of 3 init times absent from a system, 2 of 8 pairs absent from the truth" in caplog.text
    statistics = read_statistics([world.folder / "scores"])
    for system in ("ours", "climatology", "persistence"):
        assert statistics[system].sizes["init_time"] == 2
        assert statistics[system].sizes["lead_time"] == 4
    # The baseline keeps its own leads; every score of two systems is over the pairs that both have.
    assert statistics["theirs"].sizes["lead_time"] == 2
    table = scorecard(statistics).query("name == 'z500' and region == 'global'")
    counts = table.query("score == 'crps'").pivot_table(index="lead_time", columns="system", values="n_init")
    assert counts["ours"].tolist() == [1, 2, 1, 2]
    assert counts["theirs"].dropna().tolist() == [2, 2]
    relative = table.query("score == 'crps_relative_to_baseline' and system == 'ours'")
    assert relative["lead_time"].tolist() == [pd.Timedelta("12h"), pd.Timedelta("24h")]
    assert relative["value"].notna().all()


def test_files_of_the_climatology_name_its_years(world):
    run(world)
    found = read_statistics([world.folder / "scores"])
    assert found["climatology"].attrs["climatology_years"] == "2017, 2018"
    assert "climatology_years" not in found["ours"].attrs


def test_restart_makes_only_what_is_missing(world):
    paths = run(world)
    assert len(paths) == 4 * 3
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}
    lost = paths[4]
    lost.unlink()
    lost.with_name(f".{lost.name}.1.partial").write_bytes(b"torn")
    assert run(world) == paths
    for path in paths:
        assert path.read_bytes() == before[path][1]
        assert (path.stat().st_mtime_ns == before[path][0]) == (path != lost)
    read_statistics([world.folder / "scores"])


def test_other_configuration_is_refused(world):
    paths = run(world)
    with pytest.raises(StoreError, match=r"config_hash abc123abc123, expected other.*delete"):
        verify(world.config(), world.folder / "scores", world.forecast_store, {"config_hash": "other"})
    paths[0].write_bytes(b"no netcdf")
    with pytest.raises(StoreError, match="delete it"):
        run(world)


def of_ours(world, config, **hashes):
    """The forecast as our own, with the hashes it would carry."""
    made_with = {"config_hash": config_hash(config, config.forecast), "weights_hash": "w1", **hashes}
    write(world.forecast.assign_attrs(made_with), world.folder / "forecast.zarr")


def test_scores_of_other_weights_are_refused_and_references_kept(world):
    config = world.config()
    of_ours(world, config)
    paths = run(world)
    of_ours(world, config, weights_hash="w2")
    with pytest.raises(StoreError, match=r"scores/ours/.* has forecast_hash .*-w1, expected .*-w2"):
        run(world)
    for path in paths:
        if path.parent.name == "ours":
            path.unlink()
    reference = next(path for path in paths if path.parent.name == "climatology")
    before = reference.stat().st_mtime_ns
    assert run(world) == paths
    assert reference.stat().st_mtime_ns == before


def test_a_forecast_of_other_settings_is_refused(world):
    of_ours(world, world.config(), config_hash="0123456789ab")
    with pytest.raises(StoreError, match="was made with forecast settings 0123456789ab"):
        run(world)


def test_files_say_what_they_are(world):
    data = xr.load_dataset(run(world)[0], engine="scipy", decode_timedelta=True)
    assert data.attrs["system"] == "ours"
    assert data.attrs["members"] == "4"
    assert data.attrs["truth"] == f"{world.folder}/truth.zarr"
    assert data.attrs["estimator"] == "fair"
    assert data.attrs["config_hash"] == PROVENANCE["config_hash"]
    assert data["crps_fair"].dtype == np.float64
    # Every point of a field without mask has a rank: 8 rows of mean weight 1 times 16.
    np.testing.assert_allclose(data["rank_counts"].sum("rank").sel(name="z500", region="global"), 8 * 16)
    assert data.attrs["families"] == "ensemble ranks"


@pytest.mark.parametrize("leads", [1, 3])
def test_pieces_of_work_do_not_change_a_bit(world, monkeypatch, leads):
    paths = run(world)
    whole = [path.read_bytes() for path in paths]
    for path in paths:
        path.unlink()
    monkeypatch.setattr("fuxi_ens.verify.work.LEADS_PER_ITEM", leads)
    assert [path.read_bytes() for path in run(world, cache_megabytes=1)] == whole


@pytest.mark.slow
def test_processes_give_the_bits_of_threads(world):
    paths = run(world)
    whole = [path.read_bytes() for path in paths]
    for path in paths:
        path.unlink()
    config = world.config()
    config = config.model_copy(update={"dask": config.dask.model_copy(update={"cluster": "processes", "workers": 2})})
    verify(config, world.folder / "scores", world.forecast_store, PROVENANCE)
    assert [path.read_bytes() for path in paths] == whole


def test_memory_is_predicted_before_the_start(world, caplog):
    with caplog.at_level(logging.INFO):
        run(world, cache_megabytes=5)
    config = world.config(cache_megabytes=5)
    needed = memory_needed(config, open_systems(config, world.forecast_store)[0], 2)
    # Each store is one chunk here: all init times, members and lead times of a level.
    chunk = world.forecast["geopotential"].nbytes
    assert needed.each >= chunk + 4 * 8 * 16 * 4
    assert needed.total == 2 * needed.each + 5_000_000
    assert f"memory: {needed}" in caplog.text


@pytest.mark.parametrize(("scores", "ensembles"), [(("ensemble",), 2), (("ensemble", "wind"), 3)])
def test_predicted_memory_is_what_a_task_takes(world, rng, scores, ensembles):
    """Of many members, which outweigh everything else; the chunks are those of our own stores."""
    leads, members = np.array([6, 12], "timedelta64[h]").astype("timedelta64[ns]"), 1500
    world.forecast = make_forecast(rng, members, leads)[["10m_u_component_of_wind", "10m_v_component_of_wind"]]
    for array in world.forecast.values():
        array.encoding = {"chunks": (1, members, 1, 8, 16)}
    config = world.save().config(channels=["ws10m"], scores=scores)
    scorers, sample = open_scorers(config, world.forecast_store)
    work = "ws10m", sample.init_times[0], leads
    scorers[0].cases(*work)  # compiles, opens and keeps truths

    def peak():
        # A thread of its own has nothing yet of the memory that is used again.
        tracemalloc.start()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(scorers[0].cases, *work).result()
        return tracemalloc.get_traced_memory()[1]

    try:
        found = peak()
    finally:
        tracemalloc.stop()
    ensemble = members * 8 * 16 * 4
    needed = memory_needed(config, [scorers[0].system], 1).each
    assert ensembles * ensemble <= needed
    # Small fields of so many members: the kernel's table and Python's objects weigh something.
    assert 0.7 * needed <= found <= 1.2 * needed


def test_unwritten_forecast_is_refused(world):
    world.forecast["10m_u_component_of_wind"][1, 2, 3, 0, 0] = np.nan
    world.save()
    with pytest.raises(StoreError, match=r"ours .*ws10m, init_time 2019-01-10T12.*lead_time 24 h"):
        run(world)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: {"baseline": f"{w.folder}/nowhere.zarr"}, "cannot open"),
        (lambda w: {"baseline": f"{w.folder}/truth.zarr"}, "lacks the dimensions"),
        (lambda w: {"baseline_name": "climatology"}, "different names"),
        (lambda w: {"baseline": "asset:nothing"}, "not shipped"),
    ],
)
def test_wrong_configuration_is_explained(world, change, message):
    with pytest.raises((StoreError, ConfigError), match=message):
        run(world, **change(world))


def broken(world, rng, kind):
    if kind == "variable":
        world.baseline = world.baseline.drop_vars("10m_u_component_of_wind")
    if kind == "level":
        world.truth = world.truth.sel(level=[850])
    if kind == "leads":
        world.baseline = make_forecast(rng, 3, world.baseline["prediction_timedelta"].values * 10)
    if kind == "times":
        world.truth = world.truth.sel(time=slice("2018"))
    if kind == "grid":
        world.baseline = world.baseline.isel(latitude=slice(0, 6))
    if kind == "duplicates":
        world.forecast = world.forecast.isel(time=[0, 0, 1])
    world.save()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("variable", "has no 10m_u_component_of_wind .for u10m."),
        ("level", r"no level 500 \(for z500\)"),
        ("leads", "no lead time in common"),
        ("times", "nothing to score"),
        ("grid", "regrid"),
        ("duplicates", "duplicates"),
    ],
)
def test_stores_that_do_not_fit_are_explained(world, rng, kind, message):
    broken(world, rng, kind)
    with pytest.raises(StoreError, match=message):
        run(world)


def test_lead_times_without_units_are_explained(world):
    integers = world.forecast.assign_coords(prediction_timedelta=[6, 12, 18, 24])
    integers.to_zarr(world.folder / "forecast.zarr", mode="w", zarr_format=2, consolidated=True)
    with pytest.raises(StoreError, match="units='hours'"):
        run(world)


def test_longitudes_west_of_greenwich_are_the_same_points(world):
    paths = run(world)
    expected = [path.read_bytes() for path in paths]
    shifted = world.forecast.assign_coords(longitude=(world.forecast["longitude"] + 180) % 360 - 180)
    write(shifted.sortby("longitude"), world.folder / "forecast.zarr")
    for path in paths:
        path.unlink()
    assert [path.read_bytes() for path in run(world)] == expected
