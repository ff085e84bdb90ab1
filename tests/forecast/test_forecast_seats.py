"""Who passes the network with whom: everybody wanted once, always on the same row."""

import itertools

import pytest

from fuxi_ens.forecast.draws import CONTROL
from fuxi_ens.forecast.seats import seat


def where(batches):
    """Index, row and first member of the batch of each place."""
    found = {}
    for batch in batches:
        for row, place in zip(batch.rows, batch.places, strict=True):
            assert place not in found
            found[place] = (batch.indices[row], row)
    return [found[place] for place in sorted(found)]


@pytest.mark.parametrize(
    ("size", "members", "control"), [*itertools.product([1, 2, 3, 8], [1, 2, 3, 7, 8], [True, False])]
)
def test_everybody_sits_once_and_batches_are_full(size, members, control):
    batches = seat(range(members + control), size, control=control)
    assert all(len(batch.indices) == size for batch in batches)
    assert [index for index, _ in where(batches)] == [*([CONTROL] if control else []), *range(members)]


@pytest.mark.parametrize(("size", "control"), [*itertools.product([1, 2, 3], [True, False])])
def test_a_member_sits_on_the_same_row_whatever_else_is_wanted(size, control):
    everybody = where(seat(range(9), size, control=control))
    for first, last in itertools.combinations(range(10), 2):
        assert where(seat(range(first, last), size, control=control)) == everybody[first:last]
    assert where(seat([5, 0, 3], size, control=control)) == [everybody[5], everybody[0], everybody[3]]


@pytest.mark.parametrize(("members", "batches"), [(3, 1), (4, 2), (5, 2)])
def test_the_control_member_takes_a_seat_that_nobody_needs(members, batches):
    assert len(seat(range(members + 1), 4, control=True)) == batches


@pytest.mark.parametrize("control", [True, False])
def test_perturbed_members_sit_the_same_with_a_control_member(control):
    found = where(seat(range(7 + control), 3, control=control))
    assert found[control:] == where(seat(range(7), 3, control=False))
