"""States of two ranks with a sharded network: whole on two ranks and on one, and damaged for all or for none."""

import json

import pytest
import state_ranks
from ranks_world import start_ranks
from state_world import ALONE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return [tmp_path_factory.mktemp(name) for name in ("by_one", "by_two")]


@pytest.fixture(scope="module")
def saved_by_one(folders):
    return state_ranks.saved_on(ALONE, folders[0], sharded=False)


@pytest.fixture(scope="module")
def seen(folders, saved_by_one):
    """What two ranks saw, by rank."""
    processes = start_ranks(2, [state_ranks.__file__, *folders])
    outputs = [process.communicate(timeout=1200) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    return [json.loads(out) for out, _ in outputs]


def test_sharded_and_whole_networks_have_the_same_states(seen, saved_by_one):
    """The oracle of the others: the same training gives the same bits sharded and not."""
    assert seen[0]["saved"] == saved_by_one
    assert len(saved_by_one) == 4 + 9 + 4 * 3 + len([name for name in saved_by_one if "param_groups" in name])


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(("source", "world"), [("from two", 2), ("from one", 1)])
def test_two_ranks_load_what_one_or_two_saved(seen, saved_by_one, rank, source, world):
    assert seen[rank][source] == {"position": 2, "world": world, "state": saved_by_one}


def test_one_rank_loads_what_two_saved(seen, saved_by_one, folders):
    found = state_ranks.loaded_on(ALONE, folders[1], sharded=False)
    assert found == {"position": 2, "world": 2, "state": saved_by_one}


def test_each_rank_writes_its_share_once(seen, folders):
    sizes = [path.stat().st_size for path in sorted((folders[1] / "state_00_00000002").glob("*.distcp"))]
    (alone,) = (path.stat().st_size for path in (folders[0] / "state_00_00000002").glob("*.distcp"))
    assert len(sizes) == 2
    assert all(0.3 * alone < size < 0.8 * alone for size in sizes)
    # Shards have headers of their own.
    assert sum(sizes) < 1.3 * alone


def test_damage_to_the_file_of_any_rank_is_seen_by_all(seen):
    assert seen[0]["damaged"] == seen[1]["damaged"]
    assert len(seen[0]["damaged"]) == 8
    assert set(seen[0]["damaged"].values()) == {1}


def test_a_rank_without_room_fails_the_save_of_all(seen):
    first, second = (rank["failing"] for rank in seen)
    assert first == second
    assert (first["pending"], first["last"]) == (False, 2)
    assert first["names"] == ["state_00_00000001", "state_00_00000002"]
    assert "because of [Errno 28] No space left on device (rank 1)" in first["refused"]
