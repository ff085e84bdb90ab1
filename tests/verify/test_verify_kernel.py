"""The compiled kernel against brute force in float64, other packages and closed forms; layouts; what it refuses."""

import hashlib
import math
from pathlib import Path

import numpy as np
import properscoring
import pytest
import scoringrules
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from fuxi_ens.verify import kernel, points, scores, vectors
from fuxi_ens.verify.network import network
from fuxi_ens.verify.points import Points, counts_above, point_statistics, with_numpy

AVERAGES = ("absolute_error", "difference", "error", "variance")
POINTS = kernel.LEAST_POINTS + 5  # no multiple of a register


def fields(rng, members, points=POINTS, mean=0.0, spread=1.0):
    draw = rng.standard_normal((members + 1, 1, points))
    both = (mean + spread * draw).astype(np.float32)
    return both[:-1], both[-1]


def brute_force(ensemble, truth):
    """In float64, with the double sum over pairs."""
    x, y = ensemble.astype(float), truth.astype(float)
    members = len(x)
    pairs = sum(np.abs(a - b) for a in x for b in x) / 2
    return Points(
        np.abs(x - y).mean(axis=0),
        pairs / max(members * (members - 1), 1),
        (x - y).mean(axis=0),
        x.var(axis=0, ddof=1) if members > 1 else np.full(y.shape, np.nan),
        (x < y).sum(axis=0),
        (x == y).sum(axis=0),
        members,
    )


def straight(ensemble, truth):
    """Straight code whatever the size of the field."""
    out = np.empty((kernel.OUTPUTS, truth.size), np.float32)
    kernel.run(ensemble.reshape(len(ensemble), -1), truth.reshape(-1), out, field_points=kernel.STRAIGHT_POINTS)
    parts = out.reshape(-1, *truth.shape)
    return Points(*parts[:4], *parts[4:].view(np.int32), len(ensemble))


def assert_equal_bits(found, expected):
    for name in (*AVERAGES, "below", "equal"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


@pytest.mark.parametrize("members", [1, 2, 3, 4, 7, 10, 50, 51, 64, 65, 200, 500])
def test_everything_is_what_brute_force_gives(rng, members):
    ensemble, truth = fields(rng, members)
    found, expected = point_statistics(ensemble, truth), brute_force(ensemble, truth)
    for name in AVERAGES:
        # float32: some roundings of numbers of order 1.
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-5, atol=2e-6, err_msg=name)
    np.testing.assert_array_equal(found.below, expected.below)
    np.testing.assert_array_equal(found.equal, expected.equal)


@pytest.mark.parametrize("members", [1, 2, 3, 8, 50, 51])
def test_straight_code_and_table_give_the_same_bits(rng, members):
    ensemble, truth = fields(rng, members)
    ensemble[:, 0, :7] = np.round(ensemble[:, 0, :7])
    ensemble[-1, 0, 9] = np.nan
    assert_equal_bits(straight(ensemble, truth), point_statistics(ensemble, truth))


@pytest.mark.parametrize("members", [*range(1, 20), 50, 51, 64, 100])
def test_the_network_sorts(rng, members):
    values = rng.integers(0, 2, (members, 500))  # what sorts zeros and ones sorts everything (Knuth)
    expected = np.sort(values, axis=0)
    for low, high in network(members):
        assert 0 <= low < high < members
        values[[low, high]] = np.minimum(values[low], values[high]), np.maximum(values[low], values[high])
    np.testing.assert_array_equal(values, expected)


def test_the_network_of_fifty_has_the_comparators_of_batcher():
    assert len(network(50)) == 403


@pytest.mark.parametrize(("estimator", "share"), [("nrg", 1 - 1 / 50), ("fair", 1.0)])
@pytest.mark.parametrize("compute", [straight, point_statistics])
def test_geopotential_keeps_six_digits(rng, estimator, share, compute):
    ensemble, truth = fields(rng, 50, 4000, mean=5.5e4, spread=15.0)
    found = compute(ensemble, truth)
    crps = found.absolute_error - np.float32(share) * found.difference
    expected = scoringrules.crps_ensemble(
        truth.astype(float), np.moveaxis(ensemble, 0, -1).astype(float), estimator=estimator
    )
    relative = np.abs(crps / expected - 1)
    # Where both terms nearly cancel the rounding of either shows; float32 of either is 6e-8.
    assert np.quantile(relative, 0.99) < 1e-6
    assert crps.mean(dtype=float) == pytest.approx(expected.mean(), rel=1e-7)


def test_standard_crps_is_that_of_properscoring(rng):
    ensemble, truth = fields(rng, 13)
    found = points.crps(ensemble, truth, 1 - 1 / 13)
    expected = properscoring.crps_ensemble(truth.astype(float), np.moveaxis(ensemble, 0, -1).astype(float))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_normal_ensembles_have_the_crps_of_the_normal_distribution(rng):
    ensemble, truth = fields(rng, 20, 200_000)
    # E = sigma / sqrt(pi) for members and truth of one normal distribution; 200,000 points: 0.001.
    assert points.crps(ensemble, truth, 1.0).mean(dtype=float) == pytest.approx(1 / math.sqrt(math.pi), abs=4e-3)


values = st.floats(-1e4, 1e4, width=32) | st.sampled_from([0.0, -0.0, 1.0])


@settings(max_examples=25, deadline=None)
@given(st.data(), st.integers(2, 9))
def test_invariants_of_every_case(data, members):
    draw = data.draw(st.lists(values, min_size=members + 1, max_size=members + 1))
    numbers = np.repeat(np.array(draw, np.float32)[:, None, None], kernel.LEAST_POINTS, axis=2)
    ensemble, truth = numbers[:-1], numbers[-1]
    found = point_statistics(ensemble, truth)
    fair, standard = found.absolute_error - found.difference, found.averages()[1]
    rounding = 1e-5 * (1 + np.abs(numbers).max())
    assert (fair >= -rounding).all()
    assert (fair <= standard + rounding).all()
    assert (standard <= found.absolute_error + rounding).all()
    order = data.draw(st.permutations(range(members)))
    shuffled = point_statistics(ensemble[list(order)], truth)
    np.testing.assert_array_equal(shuffled.difference, found.difference)
    np.testing.assert_array_equal(shuffled.below, found.below)
    np.testing.assert_allclose(shuffled.absolute_error, found.absolute_error, rtol=1e-6)
    doubled = point_statistics(-2 * ensemble, -2 * truth)
    np.testing.assert_allclose(doubled.difference, 2 * found.difference, rtol=1e-5)
    np.testing.assert_array_equal(doubled.below, members - found.below - found.equal)


def test_one_outlier_among_members_that_hit_has_fair_crps_zero(rng):
    _, truth = fields(rng, 1)
    ensemble = np.repeat(truth[None], 5, axis=0)
    ensemble[3] += 100.0
    np.testing.assert_allclose(points.crps(ensemble, truth, 1.0), 0.0, atol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["member", "truth"])
@pytest.mark.parametrize("compute", [straight, point_statistics])
def test_what_is_not_finite_makes_its_point_nan_and_no_other(rng, bad, where, compute):
    ensemble, truth = fields(rng, 6)
    expected = compute(ensemble, truth)
    (ensemble[2] if where == "member" else truth)[0, 4] = bad
    found = compute(ensemble, truth)
    others = np.arange(POINTS) != 4
    for name in AVERAGES:
        np.testing.assert_array_equal(getattr(found, name)[0, others], getattr(expected, name)[0, others])
    assert np.isnan(found.difference[0, 4])
    assert np.isnan(found.variance[0, 4])
    assert not np.isfinite(found.absolute_error[0, 4])


def test_one_member_has_no_variance_and_no_difference(rng):
    ensemble, truth = fields(rng, 1)
    found = point_statistics(ensemble, truth)
    np.testing.assert_array_equal(found.difference, 0.0)
    assert np.isnan(found.variance).all()
    np.testing.assert_array_equal(points.crps(ensemble, truth, 0.0), np.abs(ensemble[0] - truth))


@pytest.mark.parametrize("layout", ["sliced", "transposed", "read-only", "every second member"])
def test_layout_does_not_matter(rng, layout):
    whole = rng.standard_normal((12, 16, 24)).astype(np.float32)
    ensemble, truth = whole[:, :8], rng.standard_normal((8, 24)).astype(np.float32)
    if layout == "transposed":
        ensemble = np.asfortranarray(ensemble)
        truth = np.asfortranarray(truth)
    if layout == "read-only":
        ensemble.flags.writeable = False
    if layout == "every second member":
        ensemble = ensemble[::2]
    expected = point_statistics(np.ascontiguousarray(ensemble), np.ascontiguousarray(truth))
    assert_equal_bits(point_statistics(ensemble, truth), expected)
    np.testing.assert_array_equal(
        points.crps(ensemble, truth, 1.0, threads=2), expected.absolute_error - expected.difference
    )


@pytest.mark.parametrize("points_count", [kernel.LEAST_POINTS, 2**16 - 1, 2**16 + 3, 2**17 + 1])
def test_pieces_and_threads_leave_every_bit_alone(rng, points_count):
    ensemble, truth = fields(rng, 3, points_count)
    whole = point_statistics(ensemble, truth)
    expected = whole.absolute_error - whole.difference
    for threads in (1, 2):
        np.testing.assert_array_equal(points.crps(ensemble, truth, 1.0, threads), expected)


def test_few_points_and_doubles_go_through_numpy(rng):
    ensemble, truth = fields(rng, 4, 3)
    assert_equal_bits(point_statistics(ensemble, truth), with_numpy(ensemble, truth))
    ensemble, truth = fields(rng, 4)
    doubles = point_statistics(ensemble.astype(float), truth.astype(float))
    assert doubles.difference.dtype == np.float64


@pytest.mark.parametrize(
    ("ensemble", "truth", "message"),
    [
        (np.zeros((2, 100)), np.zeros(100, "f4"), "float64"),
        (np.zeros((2, 200), "f4")[:, ::2], np.zeros(100, "f4"), "strides"),
        (np.zeros((2, 100), "f4"), np.zeros(99, "f4"), "shapes do not fit"),
        (np.zeros((2, 3), "f4"), np.zeros(3, "f4"), "at least"),
    ],
)
def test_memory_the_kernel_cannot_read_is_refused(ensemble, truth, message):
    with pytest.raises(ValueError, match=message):
        kernel.run(ensemble, truth, np.zeros((6, truth.size), "f4"))


def test_counts_above_thresholds_are_strict(rng):
    ensemble = np.round(rng.standard_normal((9, 4, 12)), 1).astype(np.float32)
    thresholds = np.stack([np.zeros((4, 12)), np.full((4, 12), 0.5), np.full((4, 12), np.nan)]).astype(np.float32)
    expected = (ensemble[None] > thresholds[:, None]).sum(axis=1)
    np.testing.assert_array_equal(counts_above(ensemble, thresholds), expected)
    assert counts_above(ensemble, thresholds)[2].max() == 0


@pytest.mark.parametrize("estimator", ["fair", "standard", "almost_fair"])
@pytest.mark.parametrize("order", [("number", "lead", "lat", "lon"), ("lead", "lat", "lon", "number")])
@pytest.mark.parametrize("lazy", [False, True])
def test_crps_of_arrays_is_that_of_the_numpy_way(rng, estimator, order, lazy):
    sizes = {"number": 7, "lead": 3, "lat": 6, "lon": 10}
    forecast = xr.DataArray(rng.standard_normal((7, 3, 6, 10)).astype(np.float32), dims=list(sizes)).transpose(*order)
    truth = xr.DataArray(rng.standard_normal((3, 6, 10)).astype(np.float32), dims=("lead", "lat", "lon"))
    if lazy:
        forecast, truth = forecast.chunk(lead=1), truth.chunk(lead=1)
    found = scores.crps(forecast, truth, estimator)
    assert (found.chunks is not None) == lazy
    xr.testing.assert_allclose(found, scores.crps(forecast, truth, estimator, engine="sorted"), rtol=1e-4, atol=1e-6)
    assert found.dtype == np.float32
    assert found.attrs == {"estimator": estimator, "members": 7}


def test_machine_code_survives_a_read_only_package(rng, monkeypatch):
    from fuxi_ens.verify import compiled

    def no_place(*_, **options):
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(compiled.numba, "njit", no_place)
    assert compiled.compiled(abs) is abs


@pytest.mark.parametrize("members", [1, 2, 5, 50, 100])
@pytest.mark.parametrize("field_points", [0, kernel.STRAIGHT_POINTS])
def test_members_in_order_are_those_minus_the_truth(rng, members, field_points):
    ensemble, truth = (part.reshape(len(part), -1) for part in fields(rng, members))
    out, ordered = np.empty((kernel.OUTPUTS, truth.size), np.float32), np.empty_like(ensemble)
    kernel.run(ensemble, truth[0], out, ordered, field_points=field_points)
    np.testing.assert_array_equal(ordered, np.sort(ensemble - truth, axis=0))
    without = np.empty_like(out)
    kernel.run(ensemble, truth[0], without, field_points=field_points)
    np.testing.assert_array_equal(out, without)


def test_members_in_order_need_a_place_of_their_shape(rng):
    ensemble, truth = fields(rng, 3)
    flat, out = ensemble.reshape(3, -1), np.empty((kernel.OUTPUTS, truth.size), np.float32)
    with pytest.raises(ValueError, match="shape of the ensemble"):
        kernel.run(flat, truth.reshape(-1), out, flat[:2])


def test_the_kernel_names_the_state_of_its_vectors():
    """Else compiled code on disk would outlive a change of vectors.py: copy the new hash into kernel.py."""
    source = Path(vectors.__file__).read_bytes()
    assert hashlib.sha256(source).hexdigest() == kernel.VECTORS_SHA256
