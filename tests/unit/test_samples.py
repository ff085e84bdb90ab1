"""Which samples there are, and in which order they come."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from makers import times

from fuxi_ens.config import Period
from fuxi_ens.data.samples import RankPlace, SampleIndex, batch_positions, frame_times, require_complete
from fuxi_ens.errors import StoreError
from fuxi_ens.times import hours

STEP = hours(6)
START = np.datetime64("2016-01-01", "ns")


def period(first, last):
    start, end = START + first * STEP, START + last * STEP
    return Period(start=start.astype("datetime64[us]").item(), end=end.astype("datetime64[us]").item())


@st.composite
def worlds(draw):
    """Available times with holes, and disjoint periods over them."""
    holes = draw(st.sets(st.integers(0, 60), max_size=6))
    available = [t for t in range(61) if t not in holes]
    bounds = sorted(draw(st.sets(st.integers(-5, 65), min_size=2, max_size=6)))
    pairs = list(zip(bounds[::2], bounds[1::2], strict=False))
    return available, draw(st.permutations(pairs)), draw(st.integers(1, 5))


def by_definition(available, pairs, steps):
    return {t for t in available for a, b in pairs if all(f in available and a <= f <= b for f in needed(t, steps))}


def needed(t, steps):
    return range(t - 1, t + steps + 1)


@given(worlds())
def test_legal_samples_have_all_frames_in_one_period(world):
    available, pairs, steps = world
    stored = START + np.array(available) * STEP
    wanted = by_definition(available, pairs, steps)
    periods = tuple(period(*pair) for pair in pairs)
    if not wanted:
        with pytest.raises(StoreError, match=f"{steps} target frames"):
            SampleIndex.legal(stored, periods, STEP, steps)
        return
    legal = SampleIndex.legal(stored, periods, STEP, steps).init_times
    assert legal.dtype == "datetime64[ns]"
    assert sorted(((legal - START) / STEP).astype(int).tolist()) == sorted(wanted)


def test_periods_that_overlap_give_no_sample_twice():
    legal = SampleIndex.legal(times("2016-01-01", "2016-01-20"), (period(0, 20), period(10, 30)), STEP, 1).init_times
    assert len(set(legal)) == len(legal)


def test_frames_are_history_and_targets():
    frames = frame_times(START, STEP, 3)
    np.testing.assert_array_equal((frames - START) / STEP, [-1, 0, 1, 2, 3])


def test_37_years_of_samples():
    available = times("1979-01-01", "2015-12-31T18")
    whole = Period(start="1979-01-01", end="2015-12-31T18:00")
    assert len(SampleIndex.legal(available, (whole,), STEP, 12)) == len(available) - 13


def test_a_complete_period_passes():
    require_complete(times("2016-01-01", "2016-01-02"), (period(0, 4), period(1, 3)), STEP, "store")


@pytest.mark.parametrize(("first", "last", "absent"), [(-1, 3, "2015-12-31T18"), (0, 5, "2016-01-02T06")])
def test_a_period_that_leaves_the_store_is_refused(first, last, absent):
    with pytest.raises(StoreError, match=f"store lacks 1 of .*first {absent}.*2016-01-01T00.*2016-01-02T00"):
        require_complete(times("2016-01-01", "2016-01-02"), (period(first, last),), STEP, "store")


@given(st.integers(0, 40))
def test_any_hole_is_found(hole):
    available = np.delete(START + np.arange(41) * STEP, hole)
    with pytest.raises(StoreError, match="lacks 1 of 41"):
        require_complete(available, (period(0, 40),), STEP, "store")


def test_an_empty_store_is_refused_with_a_message():
    with pytest.raises(StoreError):
        SampleIndex.legal(np.array([], "datetime64[ns]"), (period(0, 4),), STEP, 1)


ORDERS = st.tuples(st.integers(1, 30), st.integers(1, 7), st.integers(1, 4), st.integers(0, 2**31))


@given(ORDERS)
def test_every_epoch_visits_every_sample_once_over_all_ranks(order):
    count, size, world, seed = order
    iterations = -(-3 * count // (size * world))
    visited = [
        batch_positions(count, i, size, seed=(seed, 0), place=RankPlace(rank, world))
        for i in range(iterations)
        for rank in range(world)
    ]
    assert all(len(batch) == size for batch in visited)
    sequence = np.concatenate(visited)
    for epoch in range(3):
        assert sorted(sequence[epoch * count : (epoch + 1) * count]) == list(range(count))


@given(ORDERS, st.integers(0, 1000))
def test_the_order_is_a_pure_function(order, iteration):
    count, size, world, seed = order
    first, again = (
        batch_positions(count, iteration, size, seed=(seed, 0), place=RankPlace(world - 1, world)) for _ in range(2)
    )
    np.testing.assert_array_equal(first, again)


@given(ORDERS, st.integers(0, 20))
def test_ranks_share_what_one_rank_would_see(order, iteration):
    count, size, world, seed = order
    shared = [batch_positions(count, iteration, size, seed=(seed, 0), place=RankPlace(r, world)) for r in range(world)]
    np.testing.assert_array_equal(
        np.concatenate(shared), batch_positions(count, iteration, size * world, seed=(seed, 0))
    )


def test_ranks_are_disjoint_within_an_epoch():
    seen = [set(batch_positions(100, 2, 5, seed=(1, 0), place=RankPlace(r, 4))) for r in range(4)]
    assert len(set.union(*seen)) == 20


def test_epochs_and_seeds_differ():
    def epoch(number, seed):
        return batch_positions(50, number, 50, seed=(seed, 0)).tolist()

    assert epoch(0, 1) != epoch(1, 1)
    assert epoch(0, 1) != epoch(0, 2)
    assert epoch(0, 1) != list(range(50))


@given(ORDERS, st.integers(1, 4), st.integers(0, 20))
def test_ranks_of_a_group_take_the_same_samples_and_groups_different_ones(order, size_of_group, iteration):
    count, size, groups, seed = order
    world = groups * size_of_group
    taken = [
        batch_positions(count, iteration, size, seed=(seed, 0), place=RankPlace(rank, world, size_of_group))
        for rank in range(world)
    ]
    for rank in range(world):
        alone = RankPlace(rank // size_of_group, groups)
        np.testing.assert_array_equal(taken[rank], batch_positions(count, iteration, size, seed=(seed, 0), place=alone))


@pytest.mark.parametrize(("rank", "world", "group"), [(4, 4, 1), (-1, 2, 1), (0, 3, 2)])
def test_a_place_that_cannot_be_is_refused(rank, world, group):
    with pytest.raises(ValueError, match=f"rank {rank} of {world} in groups of {group}"):
        RankPlace(rank, world, group)


def test_an_index_gives_the_init_times_of_the_positions():
    index = SampleIndex.legal(times("2016-01-01", "2016-01-10"), (period(0, 36),), STEP, 2)
    chosen = index.batch(7, 3, seed=(5, 1))
    np.testing.assert_array_equal(chosen, index.init_times[batch_positions(len(index), 7, 3, seed=(5, 1))])


@given(worlds(), st.sets(st.integers(0, 60), max_size=5))
def test_no_sample_touches_a_skipped_time(world, skipped):
    available, pairs, steps = world
    stored = START + np.array([t for t in available if t not in skipped], dtype=int) * STEP
    periods = tuple(period(*pair) for pair in pairs)
    try:
        index = SampleIndex.legal(stored, periods, STEP, steps)
    except StoreError:
        return
    for init_time in index.init_times:
        frames = ((frame_times(init_time, STEP, steps) - START) / STEP).astype(int)
        assert not skipped & set(frames.tolist())


@pytest.mark.parametrize(("count", "chosen"), [(1, [0]), (3, [0, 16, 33]), (99, list(range(34)))])
def test_a_validation_set_is_spread_evenly_and_fixed(count, chosen):
    index = SampleIndex.legal(times("2016-01-01", "2016-01-10"), (period(0, 36),), STEP, 2)
    assert len(index) == 34
    np.testing.assert_array_equal(index.spread(count), index.init_times[chosen])
