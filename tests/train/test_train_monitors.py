"""Monitors say what they claim to say, and change nothing."""

import itertools
import logging

import numpy as np
import pytest
import torch
from test_train_objective import CHANNELS, by_hand, make_batch, make_model, make_module, noise

from fuxi_ens.config import StageConfig
from fuxi_ens.model.gaussian import DiagonalGaussian, kl_divergence
from fuxi_ens.train.monitors import CollapseAlarm, ensemble_moments, latent_monitors, spread_skill_ratio

NAMES = ("z500", "t2m", "u10m")


def gaussians(rng, height=12, width=20, batch=2):
    q, p = (DiagonalGaussian(*torch.randn(2, batch, 2, 3, height, width, generator=rng)) for _ in range(2))
    return q, p


def loop_energy(field, side):
    """Sum over points of the squared mean of their block."""
    height, width = field.shape
    total = 0.0
    for i in range(0, height, side):
        for j in range(0, width, side):
            block = field[i : i + side, j : j + side]
            total += block.size * block.mean() ** 2
    return total


@pytest.mark.parametrize(("height", "width"), [(8, 16), (12, 20), (5, 7)])
def test_scales_equal_loops_over_blocks_and_sum_up_to_the_kl(rng, height, width):
    q, p = gaussians(rng, height, width)
    mask = (torch.rand(2, 1, 3, height, width, generator=rng) < 0.7).float()
    got = latent_monitors(q, p, mask, NAMES)
    count = 2 * mask.sum().item()
    shift = ((q.mean - p.mean) * torch.exp(-0.5 * p.logvar) * mask).double().numpy().reshape(-1, height, width)
    sides = [int(side) for side in got["kl_scales"]]
    assert sides == [2**n for n in range(len(sides))]
    assert 2 * sides[-1] > min(height, width) >= sides[-1]
    energy = [sum(loop_energy(field, side) for field in shift) for side in sides] + [0.0]
    expected = [0.5 * (a - b) / count for a, b in itertools.pairwise(energy)]
    assert list(got["kl_scales"].values()) == pytest.approx(expected, rel=1e-4, abs=1e-6)
    mean = (kl_divergence(q, p) * mask).sum().item() / count
    assert sum(got["kl_scales"].values()) + got["kl_variances"] == pytest.approx(mean, rel=1e-5)
    variances = 0.5 * (p.logvar - q.logvar + (q.logvar - p.logvar).exp() - 1.0)
    assert got["kl_variances"] == pytest.approx((variances * mask).sum().item() / count, rel=1e-3)


@pytest.mark.parametrize(("side", "where"), [(1, "1"), (4, "4"), (64, "8")])
def test_a_shift_of_one_scale_shows_at_that_scale(side, where):
    # A checkerboard of blocks has mean zero over blocks of twice the side.
    i, j = np.indices((8, 16)) // side
    board = torch.tensor((-1.0) ** (i + j), dtype=torch.float32).expand(1, 2, 3, 8, 16)
    zero = torch.zeros(1, 2, 3, 8, 16)
    got = latent_monitors(
        DiagonalGaussian(board, zero), DiagonalGaussian(zero, zero), torch.ones(1, 1, 3, 8, 16), NAMES
    )
    assert got["kl_scales"] == pytest.approx({name: 0.5 * (name == where) for name in ("1", "2", "4", "8")}, abs=1e-6)
    assert got["kl_variances"] == pytest.approx(0.0, abs=1e-6)


def test_channels_have_their_kl_and_those_that_never_count_have_none(rng):
    q, p = gaussians(rng)
    mask = (torch.rand(2, 1, 3, 12, 20, generator=rng) < 0.7).float()
    mask[:, :, 1] = 0.0
    got = latent_monitors(q, p, mask, NAMES)["kl_channels"]
    kl = kl_divergence(q, p)
    assert got.keys() == {"z500", "u10m"}
    for name, c in (("z500", 0), ("u10m", 2)):
        chosen = kl[:, :, c][mask[:, :, c].expand(2, 2, 12, 20).bool()]
        assert got[name] == pytest.approx(chosen.mean().item(), rel=1e-4)


def test_active_dimensions_are_the_latent_channels_above_the_threshold():
    zero = torch.zeros(1, 2, 3, 4, 4)
    mean, logvar, mask = zero.clone(), zero.clone(), torch.ones(1, 1, 3, 4, 4)
    logvar[0, :, 1] = 2.0  # Costs more than a nat, and tells nothing.
    mean[0, 0, 0] = 0.15  # 0.01125 nats
    mean[0, 1, 0] = 0.13  # 0.00845 nats
    mean[0, :, 2] = 5.0
    mask[:, :, 2] = 0.0
    got = latent_monitors(DiagonalGaussian(mean, logvar), DiagonalGaussian(zero, zero), mask, NAMES)
    assert got["kl_channels"]["t2m"] > 1.0
    assert got["active_dimensions"] == pytest.approx(1 / 4)


def test_spread_skill_ratio_of_the_training_ensemble_equals_the_definition(rng):
    model, batch = make_model(rng), make_batch(rng, 1)
    module = make_module(model)
    truth = model.standardize(batch.target_BKCHW)[:, 0]
    ens = torch.randn(2, 3, 4, 4, 8, generator=rng)
    moments = ensemble_moments(ens, truth, module.weights.area_H)
    variance = by_hand(torch.where(truth.isnan(), torch.nan, ens.var(1)), module.weights).mean()
    squared = by_hand((ens.mean(1) - truth).square(), module.weights).mean()
    assert spread_skill_ratio(moments, 3) == pytest.approx((4 / 3 * variance / squared) ** 0.5, rel=1e-5)


def test_a_reliable_ensemble_of_any_size_has_ratio_one(rng):
    for members in (2, 4, 16):
        drawn = torch.randn(8, members + 1, 1, 64, 128, generator=rng)
        moments = ensemble_moments(drawn[:, 1:], drawn[:, 0], torch.ones(64))
        assert spread_skill_ratio(moments, members) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("objective", ["l1", "crps_kl"])
def test_watching_changes_no_bit(rng, objective, dropout):
    model, batch = make_model(rng, dropout=dropout), make_batch(rng, 2)
    module = make_module(model, 2, objective, sampled="both")

    def outcome(watch):
        model.zero_grad(set_to_none=True)
        terms = module(batch, noise(), 0.5, watch=watch)
        terms.total.backward()
        return terms, [p.grad.clone() for p in model.parameters() if p.grad is not None]

    (plain, gradients), (watched, same) = outcome(False), outcome(True)
    assert torch.equal(plain.total, watched.total)
    assert all(torch.equal(a, b) for a, b in zip(gradients, same, strict=True))
    assert not plain.monitors
    assert bool(watched.monitors) == (objective == "crps_kl")


def test_the_record_holds_every_term_as_a_number(rng):
    model, batch = make_model(rng), make_batch(rng, 2)
    terms = make_module(model, 2, sampled="both", kl_free_nats=0.1)(batch, noise(), 0.25, watch=True)
    record = terms.record(CHANNELS)
    assert record["loss"] == pytest.approx(record["error"] + 0.25 * record["kl_penalty"], rel=1e-6)
    assert record["kl_weight"] == 0.25
    assert record["kl"] == terms.kl.item()
    assert record["error_channels"] == dict(zip(CHANNELS, terms.error_C.tolist(), strict=True))
    assert record["spread_skill_ratio"].keys() == {"posterior", "prior"}
    assert {"kl_channels", "kl_scales", "kl_variances", "active_dimensions"} < record.keys()


def alarm(patience=3, **changes):
    stage = {"name": "ensemble", "objective": "crps_kl", "iterations": 9, "learning_rate": 1.0, **changes}
    return CollapseAlarm(StageConfig(**stage), patience)


def hear(chosen, caplog, series, kl_weight=3e-4):
    """Warnings after each of a series of active shares."""
    counts = []
    for active in series:
        with caplog.at_level(logging.WARNING):
            chosen.hear({"active_dimensions": active}, kl_weight)
        counts.append(len(caplog.records))
    return counts


def test_the_alarm_speaks_once_after_its_patience_and_says_what_to_do(caplog):
    assert hear(alarm(), caplog, [0.0] * 6) == [0, 0, 1, 1, 1, 1]
    (message,) = (record.getMessage() for record in caplog.records)
    assert "stage 'ensemble': posterior collapse" in message
    for remedy in ("Lower kl_weight (now 0.0003)", "kl_schedule: cyclical", "kl_free_nats: 0.05", "sampled: prior"):
        assert remedy in message


def test_a_sign_of_life_starts_the_count_again(caplog):
    assert hear(alarm(), caplog, [0.0, 0.0, 0.1, 0.0, 0.0]) == [0] * 5


@pytest.mark.parametrize(
    ("changes", "kl_weight"), [({"sampled": "prior"}, 3e-4), ({"objective": "l1"}, 3e-4), ({}, 0.0)]
)
def test_the_alarm_is_silent_where_the_posterior_has_nothing_to_tell(caplog, changes, kl_weight):
    assert hear(alarm(**changes), caplog, [0.0] * 5, kl_weight=kl_weight) == [0] * 5
