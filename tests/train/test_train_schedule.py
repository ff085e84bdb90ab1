"""Learning rate and KL weight, iteration by iteration."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuxi_ens.config import StageConfig
from fuxi_ens.train.schedule import kl_weight, learning_rate


def stage(**changes):
    values = {"name": "s", "objective": "crps_kl", "iterations": 11, "learning_rate": 1.0, "final_learning_rate": 0.1}
    return StageConfig(**{**values, **changes})


def test_warm_up_rises_linearly_and_the_cosine_ends_at_the_final_rate():
    rates = [learning_rate(stage(warmup_iterations=4, iterations=9), i) for i in range(9)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates[6] == pytest.approx(0.55)
    assert rates[8] == pytest.approx(0.1)


def test_without_warm_up_the_first_rate_is_the_peak():
    rates = [learning_rate(stage(), i) for i in range(11)]
    assert rates[0] == 1.0
    assert rates[5] == pytest.approx(0.55)
    assert rates[10] == pytest.approx(0.1)
    assert rates == sorted(rates, reverse=True)


@given(st.integers(0, 49), st.integers(1, 50), st.integers(0, 200))
def test_rates_stay_between_zero_and_the_peak(warmup, decay, iteration):
    iterations = warmup + decay
    rate = learning_rate(stage(iterations=iterations, warmup_iterations=warmup), iteration)
    assert 0.0 < rate <= 1.0


@pytest.mark.parametrize("changes", [{"warmup_iterations": 11}, {"final_learning_rate": 1.1}])
def test_a_schedule_that_never_falls_is_refused(changes):
    with pytest.raises(ValueError, match="lower final_learning_rate or warmup_iterations"):
        stage(**changes)


def test_kl_weight_rises_linearly_and_stays():
    weights = [kl_weight(stage(kl_weight=0.6, kl_warmup_iterations=3), i) for i in range(5)]
    assert weights == pytest.approx([0.2, 0.4, 0.6, 0.6, 0.6])
    assert kl_weight(stage(kl_weight=0.6), 0) == 0.6


def test_cyclical_kl_weight_follows_fu_et_al():
    # 20 iterations in 4 cycles of 5, rising over the first half of each: tau = 0, 0.2, 0.4, 0.6, 0.8.
    weights = [kl_weight(stage(kl_weight=0.5, kl_schedule="cyclical", iterations=20), i) for i in range(20)]
    assert weights == pytest.approx([0.0, 0.2, 0.4, 0.5, 0.5] * 4)


@given(st.integers(1, 60), st.integers(1, 7), st.floats(0.05, 1.0))
def test_cyclical_kl_weight_equals_the_published_formula_whatever_the_lengths(iterations, cycles, rise):
    cycles = min(cycles, iterations)
    settings = stage(kl_weight=2.0, kl_schedule="cyclical", kl_cycles=cycles, kl_rise=rise, iterations=iterations)
    for t in range(1, iterations + 1):
        tau = ((t - 1) % math.ceil(iterations / cycles)) / (iterations / cycles)
        expected = 2.0 * (tau / rise if tau <= rise else 1.0)
        assert kl_weight(settings, t - 1) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kl_warmup_iterations": 3}, "kl_warmup_iterations 3 would be ignored; drop one of the two"),
        ({"kl_cycles": 12}, "12 cycles do not fit into 11 iterations; lower kl_cycles"),
        ({"kl_rise": 0.0}, "kl_rise"),
    ],
)
def test_cycles_that_make_no_sense_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        stage(kl_schedule="cyclical", **changes)
