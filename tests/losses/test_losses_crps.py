"""The CRPS that trains equals the definition, the outside libraries, and the CRPS that is published (model.md 3.2)."""

import numpy as np
import properscoring
import pytest
import scoringrules
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from fuxi_ens.losses import ensemble_crps
from fuxi_ens.verify import scores

ESTIMATORS = ("standard", "fair", "almost_fair")


def brute_force(ensemble, target, estimator, alpha=0.95):
    """Facts 3.2 for members [M, ...] in float64: the double sum over pairs, nothing rearranged."""
    x, y = ensemble.double(), target.double()
    members = len(x)
    pairs = (x[:, None] - x[None]).abs().sum((0, 1))
    standard = (x - y).abs().mean(0) - pairs / (2 * members**2)
    if estimator == "standard":
        return standard
    fair = (x - y).abs().mean(0) - pairs / (2 * members * (members - 1))
    return fair if estimator == "fair" else alpha * fair + (1 - alpha) * standard


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("members", range(2, 9))
def test_loss_equals_the_definition(rng, members, estimator):
    ensemble, target = torch.randn(members, 5, 6, generator=rng), torch.randn(5, 6, generator=rng)
    got = ensemble_crps(ensemble, target, estimator, member_dim=0)
    torch.testing.assert_close(got, brute_force(ensemble, target, estimator).float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_almost_fair_lies_between_standard_and_fair(rng, alpha):
    ensemble, target = torch.randn(4, 50, generator=rng), torch.randn(50, generator=rng)
    got = ensemble_crps(ensemble, target, "almost_fair", alpha, member_dim=0)
    torch.testing.assert_close(got, brute_force(ensemble, target, "almost_fair", alpha).float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_members_may_lie_along_any_dimension(rng, estimator):
    ensemble, target = torch.randn(4, 3, 5, 6, generator=rng), torch.randn(3, 5, 6, generator=rng)
    first = ensemble_crps(ensemble, target, estimator, member_dim=0)
    for dim in (1, 2, 3, -1):
        moved = ensemble.movedim(0, dim)
        torch.testing.assert_close(ensemble_crps(moved, target, estimator, member_dim=dim), first)


def test_defaults_are_almost_fair_with_members_second(rng):
    ensemble, target = torch.randn(3, 4, 5, generator=rng), torch.randn(3, 5, generator=rng)
    expected = brute_force(ensemble.movedim(1, 0), target, "almost_fair", 0.95).float()
    torch.testing.assert_close(ensemble_crps(ensemble, target), expected)


@pytest.fixture(params=["gaussian", "tied precipitation", "geopotential"])
def sample(request):
    """Members [M, points] and truth [points], float64."""
    generator = np.random.default_rng(2025)
    ensemble, truth = generator.standard_normal((6, 300)), generator.standard_normal(300)
    if request.param == "tied precipitation":
        return ensemble.clip(0.0), truth.clip(0.0)
    if request.param == "geopotential":
        return 5.5e4 + 15 * ensemble, 5.5e4 + 15 * truth
    return ensemble, truth


def loss(ensemble, truth, estimator):
    return ensemble_crps(torch.from_numpy(ensemble), torch.from_numpy(truth), estimator, member_dim=0).numpy()


def tolerance(truth):
    """Float32 input: half a unit in the last place of the values."""
    return 1e-6 + np.abs(truth).max() * 2.0**-23


def test_standard_loss_equals_properscoring(sample):
    ensemble, truth = sample
    expected = properscoring.crps_ensemble(truth, ensemble.T)
    np.testing.assert_allclose(loss(ensemble, truth, "standard"), expected, rtol=1e-5, atol=tolerance(truth))


@pytest.mark.parametrize("name", ["fair", "pwm"])
def test_fair_loss_equals_scoringrules(sample, name):
    ensemble, truth = sample
    expected = scoringrules.crps_ensemble(truth, ensemble.T, estimator=name)
    np.testing.assert_allclose(loss(ensemble, truth, "fair"), expected, rtol=1e-5, atol=tolerance(truth))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_training_and_verification_use_one_definition(sample, estimator):
    ensemble, truth = (array.astype(np.float32) for array in sample)
    published = scores.crps(
        xr.DataArray(ensemble, dims=("number", "point")), xr.DataArray(truth, dims="point"), estimator
    )
    np.testing.assert_allclose(loss(ensemble, truth, estimator), published, rtol=1e-5, atol=1e-5)


def test_one_member_is_the_absolute_error(rng):
    ensemble, target = torch.randn(1, 20, generator=rng), torch.randn(20, generator=rng)
    got = ensemble_crps(ensemble, target, "standard", member_dim=0)
    assert torch.equal(got, (ensemble[0] - target).abs())


@pytest.mark.parametrize("estimator", ["fair", "almost_fair"])
def test_one_member_has_no_fair_score(estimator):
    with pytest.raises(ValueError, match="at least 2 members, got 1; use 'standard'"):
        ensemble_crps(torch.zeros(1, 3), torch.zeros(3), estimator, member_dim=0)


@pytest.mark.parametrize("members", [1, 3])
def test_unknown_estimators_are_refused(members):
    with pytest.raises(ValueError, match=r"unknown estimator 'faire'; use one of .*'fair'"):
        ensemble_crps(torch.zeros(members, 3), torch.zeros(3), "faire", member_dim=0)


members_and_truth = st.integers(2, 8).flatmap(
    lambda m: st.lists(st.floats(-1e3, 1e3, width=32), min_size=m + 1, max_size=m + 1)
)


@settings(deadline=None, max_examples=150)
@given(members_and_truth)
def test_fair_is_at_most_almost_fair_is_at_most_standard_is_at_most_the_error(numbers):
    *members, y = numbers
    ensemble, target = torch.tensor(members), torch.tensor(y)
    fair, almost, standard = (
        ensemble_crps(ensemble, target, e, member_dim=0).item() for e in ("fair", "almost_fair", "standard")
    )
    error = (ensemble - target).abs().mean().item()
    rounding = 1e-6 * (1.0 + max(map(abs, numbers)))
    assert -rounding <= fair <= almost + rounding
    assert almost <= standard + rounding
    assert standard <= error + rounding


@settings(deadline=None, max_examples=80)
@given(members_and_truth, st.floats(-10, 10), st.floats(-100, 100), st.randoms())
def test_score_scales_with_units_and_ignores_origin_and_order(numbers, factor, origin, random):
    *members, y = numbers
    shuffled = random.sample(members, len(members))
    base = ensemble_crps(torch.tensor(members, dtype=torch.float64), torch.tensor(y), "fair", member_dim=0)
    moved = factor * torch.tensor(shuffled, dtype=torch.float64) + origin
    other = ensemble_crps(moved, torch.tensor(factor * y + origin), "fair", member_dim=0)
    assert other.item() == pytest.approx(abs(factor) * base.item(), rel=1e-4, abs=5e-3)


def test_fair_score_is_unbiased_in_the_member_count_and_the_standard_one_is_not(rng):
    expected = 1 / np.pi**0.5
    for members in (2, 4, 16):
        ensemble, target = torch.randn(members, 400_000, generator=rng), torch.randn(400_000, generator=rng)
        fair = ensemble_crps(ensemble, target, "fair", member_dim=0).mean().item()
        standard = ensemble_crps(ensemble, target, "standard", member_dim=0).mean().item()
        assert fair == pytest.approx(expected, abs=0.004)
        assert standard == pytest.approx(expected * (1 + 1 / members), abs=0.004)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_gradient_equals_finite_differences(rng, estimator):
    ensemble = torch.randn(5, 4, generator=rng).requires_grad_()
    target = torch.randn(4, generator=rng)
    ensemble_crps(ensemble, target, estimator, member_dim=0).sum().backward()
    step = 1e-4
    for place in np.ndindex(5, 4):
        up, down = ensemble.detach().double(), ensemble.detach().double()
        up[place] += step
        down[place] -= step
        slope = (brute_force(up, target, estimator) - brute_force(down, target, estimator)).sum() / (2 * step)
        assert ensemble.grad[place].item() == pytest.approx(slope.item(), abs=1e-5)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_gradient_is_finite_at_ties(estimator):
    ensemble = torch.tensor([1.0, 1.0, 1.0, 2.0]).requires_grad_()
    ensemble_crps(ensemble, torch.tensor(1.0), estimator, member_dim=0).backward()
    assert ensemble.grad.isfinite().all()
    same = torch.zeros(4, 3).requires_grad_()
    ensemble_crps(same, torch.zeros(3), estimator, member_dim=0).sum().backward()
    assert same.grad.isfinite().all()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_bfloat16_autocast_computes_in_float32(rng, estimator):
    ensemble, target = torch.randn(6, 200, generator=rng), torch.randn(200, generator=rng)
    expected = ensemble_crps(ensemble, target, estimator, member_dim=0)
    with torch.autocast("cpu", torch.bfloat16):
        got = ensemble_crps(ensemble, target, estimator, member_dim=0)
        rounded = ensemble_crps(ensemble.bfloat16(), target, estimator, member_dim=0)
    assert got.dtype == rounded.dtype == torch.float32
    assert torch.equal(got, expected)
    assert torch.equal(rounded, ensemble_crps(ensemble.bfloat16().float(), target, estimator, member_dim=0))


@pytest.mark.parametrize("members", [1, 2, 3, 5])
def test_missing_truth_or_member_gives_a_missing_score(rng, members):
    ensemble, target = torch.randn(members, 4, generator=rng), torch.randn(4, generator=rng)
    target[1] = torch.nan
    ensemble[members // 2, 2] = torch.nan
    got = ensemble_crps(ensemble, target, "standard", member_dim=0)
    assert got.isnan().tolist() == [False, True, True, False]


def test_missing_truth_leaves_the_other_gradients_alone(rng):
    ensemble, target = torch.randn(3, 4, generator=rng), torch.randn(4, generator=rng)
    full = ensemble.clone().requires_grad_()
    ensemble_crps(full, target, member_dim=0)[[0, 2, 3]].sum().backward()
    target[1] = torch.nan
    part = ensemble.clone().requires_grad_()
    score = ensemble_crps(part, target, member_dim=0)
    torch.where(score.isfinite(), score, 0.0).sum().backward()
    assert torch.equal(part.grad, full.grad)
