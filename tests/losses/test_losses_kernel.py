"""The kernel of the CRPS: its gradient, its tiles, and what it keeps in memory."""

import pytest
import torch
from allocations import Allocations, saved_bytes
from test_losses_crps import ESTIMATORS, brute_force

from fuxi_ens.losses import ensemble_crps, pairs


def apart(rng, members, points):
    """Values that differ by at least 0.1 from each other, so that no finite difference meets a kink."""
    order = torch.argsort(torch.rand(members + 1, points, generator=rng), dim=0)
    values = order.double() * 0.2 + 0.05 * torch.rand(members + 1, points, generator=rng, dtype=torch.float64)
    return values[:members], values[members]


def slopes(ensemble, target, estimator="almost_fair"):
    ensemble, target = ensemble.clone().requires_grad_(), target.clone().requires_grad_()
    ensemble_crps(ensemble, target, estimator, member_dim=0).sum().backward()
    return ensemble.grad, target.grad


@pytest.mark.parametrize(
    ("members", "estimator"), [(1, "standard"), *((m, e) for m in range(2, 9) for e in ESTIMATORS)]
)
def test_gradients_of_members_and_truth_pass_gradcheck(rng, members, estimator):
    ensemble, target = (t.requires_grad_() for t in apart(rng, members, 4))
    assert torch.autograd.gradcheck(lambda x, y: ensemble_crps(x, y, estimator, member_dim=0), (ensemble, target))


@pytest.mark.parametrize("members", [1, 2, 33, 40, 150])
def test_score_and_gradient_equal_those_of_the_double_sum_for_many_members(rng, members):
    ensemble, target = torch.randn(members, 7, generator=rng), torch.randn(7, generator=rng)
    reference = ensemble.double().requires_grad_()
    expected = brute_force(reference, target, "standard")
    expected.sum().backward()
    got = ensemble_crps(ensemble, target, "standard", member_dim=0)
    torch.testing.assert_close(got, expected.float(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(slopes(ensemble, target, "standard")[0], reference.grad.float(), rtol=1e-5, atol=1e-7)


def test_float64_is_scored_in_float64(rng):
    ensemble, target = torch.randn(5, 9, generator=rng).double(), torch.randn(9, generator=rng).double()
    got = ensemble_crps(ensemble, target, member_dim=0)
    assert got.dtype == torch.float64
    torch.testing.assert_close(got, brute_force(ensemble, target, "almost_fair"), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_equal_values_push_each_other_nowhere(estimator):
    truth = torch.tensor([2.0])
    assert slopes(torch.full((4, 1), 2.0), truth, estimator)[0].tolist() == [[0.0]] * 4
    # Two equal members above the truth: each feels the truth and the third, not the other.
    upper, again, third = slopes(torch.tensor([[3.0], [3.0], [1.0]]), truth, estimator)[0].flatten().tolist()
    c = {"standard": 1 / 18, "fair": 1 / 12, "almost_fair": 0.95 / 12 + 0.05 / 18}[estimator]
    assert upper == again == pytest.approx(1 / 3 - 2 * c, abs=1e-7)
    assert third == pytest.approx(-1 / 3 + 4 * c, abs=1e-7)


def test_a_missing_value_sends_no_gradient_and_leaves_its_neighbors_alone(rng):
    ensemble, target = torch.randn(4, 3, generator=rng), torch.randn(3, generator=rng)
    whole = slopes(ensemble, target)[0]
    target[1] = torch.nan
    ensemble[2, 2] = torch.nan
    broken = ensemble.clone().requires_grad_()
    score = ensemble_crps(broken, target, member_dim=0)
    torch.where(score.isfinite(), score, 0.0).sum().backward()
    assert broken.grad[:, 1:].eq(0).all()
    assert torch.equal(broken.grad[:, 0], whole[:, 0])


@pytest.mark.parametrize("shape", [(1, 4, 37), (5, 4, 3), (3, 4, 11), (2, 4, 1)])
@pytest.mark.parametrize("tile", [4, 12, 44, 1 << 20])
def test_how_points_are_cut_into_tiles_makes_no_difference(rng, monkeypatch, shape, tile):
    ensemble, target = torch.randn(shape, generator=rng), torch.randn(shape[0], shape[2], generator=rng)

    def both():
        x = ensemble.clone().requires_grad_()
        score = ensemble_crps(x, target, "fair")
        score.square().sum().backward()
        return score.detach(), x.grad

    expected = both()
    monkeypatch.setattr(pairs, "_TILE", tile)
    assert all(torch.equal(got, want) for got, want in zip(both(), expected, strict=True))


def test_tiles_cover_every_point_once(monkeypatch):
    monkeypatch.setattr(pairs, "_TILE", 20)
    for outer, inner in ((7, 3), (1, 50), (4, 5), (3, 6), (1, 1)):
        hits = torch.zeros(outer, inner)
        for o, i in pairs._tiles(torch.empty(outer, 2, inner)):
            assert hits[o, i].numel() <= 10
            hits[o, i] += 1
        assert hits.eq(1).all()


@pytest.mark.parametrize(("members", "share"), [(2, 0.25), (4, 0.25), (8, 0.25), (32, 0.25), (33, 0.5)])
def test_one_byte_per_member_waits_for_the_backward_pass(rng, members, share):
    ensemble = torch.randn(members, 1000, generator=rng).requires_grad_()
    target = torch.randn(1000, generator=rng)
    kept, _ = saved_bytes(lambda: ensemble_crps(ensemble, target, "fair", member_dim=0))
    assert kept == share * ensemble.nbytes


@pytest.mark.parametrize("members", [2, 4, 8])
def test_score_and_gradient_together_take_less_than_two_ensembles(members):
    ensemble = torch.zeros(1, members, 1 << 19).requires_grad_()
    target = torch.zeros(1, 1 << 19)
    with Allocations() as memory:
        ensemble_crps(ensemble, target, "fair").sum().backward()
    # The gradient alone is one ensemble; the score is 1 / M of it, signs a quarter, tiles the rest.
    assert ensemble.nbytes < memory.peak < 2.0 * ensemble.nbytes


def test_scoring_without_a_gradient_keeps_nothing(rng):
    ensemble, target = torch.randn(1, 4, 1 << 20, generator=rng), torch.randn(1, 1 << 20, generator=rng)
    with Allocations() as memory:
        score = ensemble_crps(ensemble, target)
    assert memory.live == score.nbytes
    assert memory.peak < 0.5 * ensemble.nbytes


def test_bfloat16_members_are_never_copied_to_float32_as_a_whole(rng):
    ensemble = torch.randn(1, 4, 1 << 19, generator=rng).bfloat16().requires_grad_()
    with Allocations() as memory:
        ensemble_crps(ensemble, torch.zeros(1, 1 << 19)).sum().backward()
    assert ensemble.grad.dtype == torch.bfloat16
    assert memory.peak < 2.8 * ensemble.nbytes


# torch's compiler warns of its own doings.
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.slow
def test_the_loss_compiles_into_one_graph(rng):
    ensemble, target = torch.randn(2, 4, 500, generator=rng).requires_grad_(), torch.randn(2, 500, generator=rng)
    expected = ensemble_crps(ensemble, target)
    (slope,) = torch.autograd.grad(expected.sum(), ensemble)
    got = torch.compile(ensemble_crps, fullgraph=True)(ensemble, target)
    (compiled,) = torch.autograd.grad(got.sum(), ensemble)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(compiled, slope)
