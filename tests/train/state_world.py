"""Small states and their store, for tests of what is on disk; run as a program, saves until it is killed."""

import sys
import time
from itertools import count
from pathlib import Path

import torch

from fuxi_ens.data.samples import RankPlace
from fuxi_ens.train.ranks import Ranks
from fuxi_ens.train.state import Position, StateStore

ALONE = Ranks(RankPlace(), None, None)


def make_store(folder, *, identity="these settings", keep=2, ranks=ALONE):
    return StateStore(folder, identity, keep, ranks)


def values(seed, size=1000):
    """Something of every kind that the states of networks and optimizers hold."""
    rng = torch.Generator().manual_seed(seed)
    rows = torch.randn(4, size, generator=rng)
    return {
        "model": {"weight": rows[0].clone(), "view": rows[1:3, 1::2], "half": rows[3].bfloat16(), "none": rows[:0]},
        "average": {"updates": torch.tensor(seed)},
        "optimizer": {"state": {"weight.step": torch.tensor(float(seed)), "weight.exp_avg": rows[2].clone()}},
        "groups": {
            "lr": 0.1 * seed,
            "betas": (0.9, 0.99 + seed),
            "fused": None,
            "amsgrad": bool(seed % 2),
            "steps": [seed, 7],
        },
    }


def blank(size=1000):
    """Other values of the same structure, to be loaded into."""
    return values(10_000, size)


def flat(tree, prefix=""):
    """Leaves by dotted name."""
    if not isinstance(tree, dict):
        return {prefix: tree}
    return {name: leaf for key, value in tree.items() for name, leaf in flat(value, f"{prefix}.{key}").items()}


def assert_same(found, expected):
    found, expected = flat(found), flat(expected)
    assert found.keys() == expected.keys()
    for name, leaf in expected.items():
        if isinstance(leaf, torch.Tensor):
            assert found[name].dtype == leaf.dtype, name
            assert torch.equal(found[name], leaf), name
        else:
            assert found[name] == leaf, name


def save(store, position, seed, score=None, size=1000):
    """One whole save of the values of a seed."""
    store.begin(Position(*position), values(seed, size), {"seed": seed}, score)
    store.settle(wait=True)


def load(folder, size=1000, **options):
    """The newest whole state and its values, as a new process would find them."""
    store = make_store(folder, **options)
    saved = store.newest()
    found = blank(size)
    store.load(saved, found)
    return saved, found


def names(folder):
    """Whole states by name, oldest first."""
    return sorted(path.name for path in folder.glob("state_*"))


def tidied(folder):
    """Wait until all that is neither kept nor under way is gone: it is deleted in the background."""
    deadline = time.monotonic() + 30
    while list(folder.glob(".*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not list(folder.glob(".*"))


if __name__ == "__main__":
    endless = make_store(Path(sys.argv[1]))
    for iteration in count(1):
        save(endless, (0, iteration), iteration, size=2_000_000)
        sys.stdout.write(f"{iteration}\n")
        sys.stdout.flush()
