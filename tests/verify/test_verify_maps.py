"""Maps of score differences: boxes, the family that keeps them, means and significance per point."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import properscoring
import pytest
import xarray as xr
from score_blocks import AREAS, make_block
from verify_world import GRID, INIT_TIMES, PROVENANCE, hours

from fuxi_ens.config import SignificanceConfig
from fuxi_ens.grid import LatLonGrid, area_weights
from fuxi_ens.verify import significance
from fuxi_ens.verify.boxes import Boxes
from fuxi_ens.verify.difference_maps import difference_maps
from fuxi_ens.verify.families.maps import COLUMNS, CRPS_MAP, LEAD, ROWS, Maps
from fuxi_ens.verify.files import read_parts, read_statistics, statistics_path, write_statistics
from fuxi_ens.verify.run import verify
from fuxi_ens.verify.scorecard import scorecard
from fuxi_ens.verify.statistics import Case, _absent


@pytest.mark.parametrize("shape", [(9, 16), (8, 16), (19, 36), (12, 25)])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_box_means_are_area_weighted_means_of_their_points(rng, shape, size):
    grid = LatLonGrid(*shape)
    boxes = Boxes.of(grid.latitude, grid.longitude, size * 360 / shape[1])
    points, valid = rng.standard_normal(shape), rng.random(shape) > 0.4
    valid[:size, :size] = False
    found = boxes.means(np.where(valid, points, np.nan), valid)
    weight = np.where(valid, area_weights(grid.latitude)[:, None], 0.0)
    for i in range(found.shape[0]):
        for j in range(found.shape[1]):
            part = np.s_[i * size : (i + 1) * size, j * size : (j + 1) * size]
            total = weight[part].sum()
            expected = (weight[part] * points[part]).sum() / total if total else np.nan
            assert found[i, j] == pytest.approx(expected, rel=1e-6, nan_ok=True)
    assert np.isnan(found[0, 0])


def test_a_grid_coarser_than_the_boxes_keeps_its_points():
    grid = LatLonGrid(32, 64)
    boxes = Boxes.of(grid.latitude, grid.longitude, 1.5)
    np.testing.assert_array_equal(boxes.latitude, grid.latitude)
    np.testing.assert_array_equal(boxes.longitude, grid.longitude)


@pytest.mark.parametrize("degrees", [0.1, 1e3])
def test_boxes_of_a_quarter_degree_grid_are_as_wide_as_asked(degrees):
    grid = LatLonGrid(721, 1440)
    boxes = Boxes.of(grid.latitude, grid.longitude, degrees)
    assert len(boxes.longitude) == max(1, round(360 / max(degrees, 0.25)))


@pytest.mark.parametrize("estimator", ["fair", "standard", "almost_fair"])
def test_the_map_is_the_crps_of_the_estimator(rng, estimator):
    block = make_block(rng, 5, holes=3)
    found = Maps((24,), 0.1, estimator).of_block(block)[CRPS_MAP]
    standard = properscoring.crps_ensemble(block.truth, block.ensemble, axis=0)
    apart = np.abs(block.ensemble[:, None] - block.ensemble[None]).sum(axis=(0, 1))
    fair = standard - apart / (2 * 5**2 * 4)
    expected = {"fair": fair, "standard": standard, "almost_fair": 0.95 * fair + 0.05 * standard}[estimator]
    # properscoring counts a missing truth as no case, which is NaN here too.
    np.testing.assert_allclose(found, np.where(np.isnan(block.truth), np.nan, expected), rtol=2e-5, atol=1e-6)


def test_one_member_has_its_absolute_error(rng):
    block = make_block(rng, 1)
    found = Maps((24,), 0.1, "fair").of_block(block)[CRPS_MAP]
    np.testing.assert_allclose(found, np.abs(block.ensemble[0] - block.truth), rtol=1e-6)


def test_the_area_mean_of_a_map_is_the_score_of_the_globe(rng):
    block = make_block(rng, 4, holes=5)
    found = Maps((24,), 1.0, "fair").of_block(block)[CRPS_MAP]
    weight = np.where(np.isnan(found), 0.0, area_weights(AREAS.latitude)[:, None])
    whole = block.regional(block.points.averages())[0] / block.weight
    assert np.nansum(weight * found) / weight.sum() == pytest.approx(whole[0], rel=1e-6)


def test_only_the_lead_times_of_the_config_are_held():
    family = Maps.from_config(SimpleNamespace(map_lead_hours=(24, 120), map_degrees=1.5, estimator="fair"))
    assert [family.holds(lead) for lead in hours(24, 48, 120)] == [True, False, True]


def test_a_case_that_is_absent_has_the_sums_of_all_lead_times():
    short, long = (Case(dict.fromkeys(names, np.ones((2, 3))), np.ones(1), 5) for names in (["a"], ["a", CRPS_MAP]))
    absent = _absent({"z500": {hours(6)[0]: short, hours(24)[0]: long}})
    assert set(absent.sums) == {"a", CRPS_MAP}
    assert np.isnan(absent.sums[CRPS_MAP]).all()
    assert (absent.weight, absent.members) == (0, 0)


@pytest.fixture
def verified(world):
    config = world.config(scores=["ensemble", "maps"], map_lead_hours=[12, 240], map_degrees=1.0)
    verify(config, world.folder / "scores", world.forecast_store, PROVENANCE)
    return world


def test_the_difference_is_that_of_the_stores(verified):
    folder = [verified.folder / "scores"]
    statistics = read_statistics(folder)
    (pair, maps), *rest = difference_maps(folder, statistics, SignificanceConfig()).items()
    assert (pair, rest) == (("ours", "theirs"), [])
    assert maps["lead_time"].to_numpy().tolist() == hours(12).tolist()
    place = {"prediction_timedelta": np.timedelta64(12, "h"), "level": 500}
    scores = []
    for data in (verified.forecast, verified.baseline):
        per_time = []
        for time in INIT_TIMES:
            x = data["geopotential"].sel(time=time, **place).transpose("number", ...).to_numpy().astype(float)
            y = verified.truth["geopotential"].sel(time=time + pd.Timedelta(hours=12), level=500).to_numpy()
            apart = np.abs(x[:, None] - x[None]).sum(axis=(0, 1)) / (len(x) * (len(x) - 1))
            per_time.append(np.abs(x - y).mean(axis=0) - apart / 2)
        scores.append(np.mean(per_time, axis=0))
    z500 = maps.sel(name="z500").isel(lead_time=0).sel(latitude=GRID.latitude, longitude=GRID.longitude)
    np.testing.assert_allclose(z500["difference"], scores[0] - scores[1], rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(z500["reference"], scores[1], rtol=1e-4)
    assert z500["init_times"] == len(INIT_TIMES)
    # Three init times are too few for any test.
    assert not z500["significant"].any()
    assert not z500["tested"]
    gaps = np.isnan(maps.sel(name="sst").isel(lead_time=0)["difference"].to_numpy())
    assert gaps.sum() == np.isnan(verified.truth["sea_surface_temperature"].isel(time=0)).sum()


def test_cards_read_none_of_the_maps(verified):
    found = read_statistics([verified.folder / "scores"])
    assert all(CRPS_MAP not in data for data in found.values())
    assert scorecard(found)["value"].notna().any()


def write_series(folder, system, role, series, times):
    """Statistics with nothing but maps, `series` [init_time, latitude, longitude]."""
    for time, field in zip(times, series, strict=True):
        data = xr.Dataset(
            {CRPS_MAP: (("name", LEAD, ROWS, COLUMNS), field[None, None].astype(np.float32))},
            {"name": ["t2m"], LEAD: hours(24), "init_time": time, ROWS: np.arange(field.shape[0])}
            | {COLUMNS: np.arange(field.shape[1])},
        )
        write_statistics(statistics_path(folder, system, time), data.assign_attrs(system=system, role=role))


def autoregressive(rng, count, shape, memory):
    noise = rng.standard_normal((count, *shape))
    for index in range(1, count):
        noise[index] = memory * noise[index - 1] + np.sqrt(1 - memory**2) * noise[index]
    return noise


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """Two systems whose scores differ in the west only, by more than chance; 200 init times with memory."""
    rng = np.random.default_rng(11)
    folder = tmp_path_factory.mktemp("noisy")
    times = pd.date_range("2018-01-01", periods=200, freq="12h").to_numpy().astype("datetime64[ns]")
    theirs = 5 + rng.standard_normal((200, 10, 20))
    ours = theirs + 0.3 * autoregressive(rng, 200, (10, 20), 0.6)
    ours[:, :, :10] -= 0.5
    write_series(folder, "ours", "forecast", ours, times)
    write_series(folder, "theirs", "baseline", theirs, times)
    roles = {"ours": "forecast", "theirs": "baseline"}
    statistics = {name: xr.Dataset(coords={"name": ["t2m"]}, attrs={"role": role}) for name, role in roles.items()}
    return folder, statistics, ours - theirs


def test_points_that_differ_are_significant_and_few_others_are(noisy):
    folder, statistics, _ = noisy
    maps = difference_maps([folder], statistics, SignificanceConfig())["ours", "theirs"].isel(name=0, lead_time=0)
    significant = maps["significant"].to_numpy()
    assert maps["tested"]
    assert significant[:, :10].all()
    # At most 5 % of the discoveries are expected to be false: about 5 beside 100 true ones.
    assert significant[:, 10:].sum() <= 12


def test_the_test_of_a_point_is_that_of_the_scorecard(noisy):
    folder, statistics, series = noisy
    maps = difference_maps([folder], statistics, SignificanceConfig())["ours", "theirs"].isel(name=0, lead_time=0)
    flat = series.reshape(200, -1)
    p = np.maximum(significance.ar2_test(flat, np.arange(200)).p, significance.ewc_test(flat).p)
    expected = significance.false_discovery(p) <= 0.05
    # float32 files move p-values by a hundred-millionth; none of these lies so near the threshold.
    np.testing.assert_array_equal(maps["significant"].to_numpy().ravel(), expected)
    np.testing.assert_allclose(maps["difference"].to_numpy().ravel(), flat.mean(axis=0), atol=1e-6)


def test_only_init_times_of_both_count(noisy, tmp_path):
    folder, statistics, series = noisy
    for system in ("ours", "theirs"):
        (tmp_path / system).mkdir()
    for system, kept in {"ours": slice(0, 150), "theirs": slice(50, 200)}.items():
        for path in sorted((folder / system).glob("*.nc"))[kept]:
            (tmp_path / system / path.name).write_bytes(path.read_bytes())
    maps = difference_maps([tmp_path], statistics, SignificanceConfig())["ours", "theirs"].isel(name=0, lead_time=0)
    assert maps["init_times"] == 100
    np.testing.assert_allclose(maps["difference"], series[50:150].mean(axis=0), atol=1e-6)


def test_without_the_family_there_are_no_maps(world):
    config = world.config()
    verify(config, world.folder / "scores", world.forecast_store, PROVENANCE)
    folder = [world.folder / "scores"]
    assert difference_maps(folder, read_statistics(folder), SignificanceConfig()) == {}
    assert list(read_parts(folder, CRPS_MAP, "ours", {"name": "z500"})) == []
