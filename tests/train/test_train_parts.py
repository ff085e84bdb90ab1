"""The parts of a training on many ranks, each by itself."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_run import new_run

from fuxi_ens.config import StageConfig
from fuxi_ens.data.loader import Batch
from fuxi_ens.data.samples import RankPlace, SampleIndex
from fuxi_ens.errors import UserError
from fuxi_ens.losses.objective import ObjectiveTerms, mean_terms
from fuxi_ens.times import label
from fuxi_ens.train.average import RunningAverage
from fuxi_ens.train.finite import FiniteGuard
from fuxi_ens.train.ranks import Ranks
from fuxi_ens.train.sampling import StageSamples, divided
from fuxi_ens.train.schedule import phases
from fuxi_ens.train.self_check import check_ranks

CPU = torch.device("cpu")
SAMPLE = (label(np.datetime64("2016-01-01")),)


def stage(**changes):
    values = {"name": "s", "objective": "crps_kl", "iterations": 10, "learning_rate": 1e-3, **changes}
    return StageConfig.model_validate(values)


def test_a_stage_without_curriculum_has_one_phase():
    assert phases(stage(rollout_steps=4)) == [(range(10), 4)]


def test_a_curriculum_grows_step_by_step_in_equal_parts():
    assert phases(stage(rollout_start=2, rollout_steps=4)) == [(range(4), 2), (range(4, 7), 3), (range(7, 10), 4)]


def test_a_curriculum_reaches_every_length_in_as_many_iterations():
    found = phases(stage(rollout_start=1, rollout_steps=10))
    assert [(len(part), steps) for part, steps in found] == [(1, k) for k in range(1, 11)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"rollout_start": 5, "rollout_steps": 4},
        {"gradient_steps": 3, "rollout_start": 2, "rollout_steps": 4},
        {"rollout_start": 1, "rollout_steps": 20},
    ],
)
def test_an_impossible_curriculum_is_refused(wrong):
    with pytest.raises(ValueError, match="rollout_start"):
        stage(**wrong)


def test_the_average_takes_over_the_weights_and_then_follows():
    network = torch.nn.Linear(2, 1, bias=False)
    average = RunningAverage(network, decay=0.75)
    for value, expected in ((1.0, 1.0), (5.0, 2.0), (-2.0, 1.0)):
        torch.nn.init.constant_(network.weight, value)
        average.update()
        assert network.weight.tolist() == [[value, value]]
        with average.in_place():
            assert network.weight.tolist() == [[expected, expected]]
    assert network.weight.tolist() == [[-2.0, -2.0]]


def test_an_adopted_average_is_the_start_of_a_new_one():
    network = torch.nn.Linear(1, 1, bias=False)
    average = RunningAverage(network, decay=0.5)
    for value in (4.0, 8.0):
        torch.nn.init.constant_(network.weight, value)
        average.update()
    average.adopt()
    assert network.weight.item() == 6.0
    torch.nn.init.constant_(network.weight, 10.0)
    average.update()
    with average.in_place():
        assert network.weight.item() == 10.0


def samples(world, tmp_path, place, **changes):
    config = new_run(world, tmp_path, {"train.stages": [stage(members=4, **changes).model_dump(mode="json")]})
    times = np.datetime64("2016-01-01", "ns") + np.arange(12) * np.timedelta64(6, "h")
    return StageSamples(config, 0, SampleIndex(times), place, CPU)


def drawn(samples, batch):
    return [stream.normal((3,)).tolist() for stream in samples.streams(batch)]


def test_ranks_divide_the_samples_of_one_process(world, tmp_path):
    alone = samples(world, tmp_path, RankPlace(), batch_size=4)
    places = [RankPlace(rank, 4) for rank in range(4)]
    ranks = [samples(world, tmp_path, place, batch_size=1) for place in places]
    for batch in (0, 2, 5):
        assert np.concatenate([r.init_times(batch) for r in ranks]).tolist() == alone.init_times(batch).tolist()
        assert [x for r in ranks for x in drawn(r, batch)] == drawn(alone, batch)


def test_ranks_of_a_group_divide_the_members_of_its_samples(world, tmp_path):
    alone = samples(world, tmp_path, RankPlace(), batch_size=2)
    places = [RankPlace(rank, 4, ranks_per_sample=2) for rank in range(4)]
    ranks = [samples(world, tmp_path, place, batch_size=1) for place in places]
    for batch in (0, 3):
        times = [r.init_times(batch).tolist() for r in ranks]
        assert times[0] == times[1] != times[2] == times[3]
        assert times[0] + times[2] == alone.init_times(batch).tolist()
        assert [x for r in ranks for x in drawn(r, batch)] == drawn(alone, batch)


def test_all_members_of_many_batches_draw_different_numbers(world, tmp_path):
    found = samples(world, tmp_path, RankPlace(), batch_size=2)
    first = [numbers[0] for batch in range(20) for numbers in drawn(found, batch)]
    assert len(set(first)) == len(first) == 20 * 2 * 4


@pytest.mark.parametrize(("count", "world"), [(5, 2), (1, 3), (6, 3)])
def test_validation_is_divided_wholly_and_evenly(count, world):
    shares = [list(divided(count, RankPlace(rank, world))) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    assert sorted(i for share in shares for i, counts in share if counts) == list(range(count))


class Scripted(Ranks):
    """Rank 0, and what the other ranks say made from what it says."""

    def __init__(self, others, place=None):
        super().__init__(place or RankPlace(0, 1 + len(others)), None, None)
        object.__setattr__(self, "others", others)

    def gather(self, value):
        return [value, *(change(value) for change in self.others)]


def batch():
    frames = torch.arange(24.0).reshape(1, 2, 3, 2, 2)
    return Batch(frames, frames[:, :1], torch.zeros(1, 1, 3), np.array(["2016-01-01"], "datetime64[ns]"))


def other(**changes):
    """A rank of another group that does all right, but for `changes`."""
    right = {"group": 1, "sample": ("elsewhen",), "noise": (2.0, 3.0)}
    return lambda report: report._replace(**{**right, **changes})


def check(*others, distinct=True):
    check_ranks(Scripted(others), torch.nn.Linear(2, 2), batch(), torch.tensor([0.0, 1.0]), distinct=distinct)


def test_ranks_that_do_right_pass():
    check(other(), lambda report: report._replace(group=2, sample=("later",), noise=(7.0,)))
    check(lambda report: report._replace(noise=(5.0,)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (other(weights=(1, 2)), r"weights of the ranks \[1\] are not those of rank 0"),
        (other(sample=SAMPLE), "several groups have the same samples"),
        (other(noise=(1.0, 5.0)), "two members draw the same random numbers"),
        (lambda r: r._replace(noise=(5.0,), sample=("else",)), "rank 1 of group 0 has"),
        (lambda r: r._replace(noise=(5.0,), content=0.0), "rank 1 of group 0 has"),
    ],
)
def test_ranks_that_do_wrong_stop_the_run(change, words):
    with pytest.raises(UserError, match=words):
        check(change)


def test_equal_samples_are_no_mistake_where_an_epoch_ends():
    check(other(sample=SAMPLE), distinct=False)


def test_a_single_flipped_bit_in_the_weights_is_seen():
    seen = []
    ranks = Scripted([lambda report: seen.append(report.weights) or report._replace(noise=(9.0,))])
    network = torch.nn.Linear(50, 40)
    check_ranks(ranks, network, batch(), torch.tensor([0.0]), distinct=True)
    network.weight.data[3, 7] = torch.nextafter(network.weight.data[3, 7], torch.tensor(9.0))
    check_ranks(ranks, network, batch(), torch.tensor([0.0]), distinct=True)
    assert seen[0] != seen[1]


def terms(total=1.0, channels=3):
    return ObjectiveTerms(
        torch.tensor(total),
        torch.tensor(total),
        torch.tensor(0.5),
        torch.tensor(0.5),
        0.1,
        torch.full((channels,), total),
    )


def guard(world, tmp_path, **changes):
    config = new_run(world, tmp_path, {f"train.{key}": value for key, value in changes.items()})
    return FiniteGuard(config.train, ("z500", "t850", "t2m"), Ranks.alone())


def test_a_skipped_iteration_is_counted_and_forgiven(world, tmp_path, caplog):
    found = guard(world, tmp_path, non_finite="skip", non_finite_limit=3)
    network = torch.nn.Linear(1, 1)
    norms = [1.0, float("nan"), float("inf"), 2.0, float("nan"), float("nan")]
    assert [found.passes(norm, terms(), network, stage(), i) for i, norm in enumerate(norms)] == [
        True, False, False, True, False, False,
    ]  # fmt: skip
    assert (found.skipped, found.skipped_in_a_row) == (4, 2)
    assert caplog.text.count("iteration skipped") == 4
    with pytest.raises(UserError, match="3 iterations in a row were skipped"):
        found.passes(float("nan"), terms(), network, stage(), 6)


def test_all_ranks_hear_of_the_one_with_the_bad_loss(world, tmp_path):
    found = guard(world, tmp_path)
    found.ranks = Scripted([lambda _: "what rank 1 found"])
    with pytest.raises(UserError, match="what rank 1 found"):
        found.passes(float("nan"), terms(), torch.nn.Linear(1, 1), stage(), 0)


def test_terms_of_several_batches_are_averaged():
    found = mean_terms([terms(1.0), terms(4.0)])
    assert found.total.item() == 2.5
    assert found.error_C.tolist() == [2.5] * 3
    single = terms(3.0)
    assert mean_terms([single]) is single
    assert replace(single, kl_weight=0.2).kl_weight == 0.2
