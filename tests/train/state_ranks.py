"""One rank of several: saves, damages and loads sharded states, and prints what it saw. Started by `ranks_world`."""

import errno
import json
import os
import sys
from pathlib import Path

import torch
from state_world import make_store
from torch import nn
from torch.distributed.checkpoint import FileSystemWriter
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from fuxi_ens.errors import UserError
from fuxi_ens.train.ranks import joined
from fuxi_ens.train.state import Position

FLAT = StateDictOptions(flatten_optimizer_state_dict=True)


def trained(seed, steps, *, sharded):
    """A network and its optimizer after some steps on the same data everywhere."""
    torch.manual_seed(seed)
    # Seven rows do not divide by two: shards differ in size.
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    if sharded:
        fully_shard(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01 * (seed + 1))
    for _ in range(steps):
        model(torch.ones(2, 5)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def state_of(model, optimizer, seed):
    return {
        "model": model.state_dict(),
        "average": {f"whole{i}": torch.full((20_000,), seed + 0.1 * i) for i in range(8)}
        | {"updates": torch.tensor(seed)},
        "optimizer": get_optimizer_state_dict(model, optimizer, options=FLAT),
    }


def whole(state):
    """Everything in a state as lists and numbers, gathered from all ranks."""
    leaves = {f"{group}.{name}": leaf for group, tree in state.items() for name, leaf in tree.items()}
    return {name: plain(leaf) for name, leaf in leaves.items()}


def plain(leaf):
    if not isinstance(leaf, torch.Tensor):
        # As JSON gives it back.
        return list(leaf) if isinstance(leaf, tuple) else leaf
    return (leaf.full_tensor() if isinstance(leaf, DTensor) else leaf).tolist()


def saved_on(ranks, folder, *, sharded):
    """Save states 1 and 2 in a folder; the content of state 2."""
    store = make_store(folder, ranks=ranks)
    for seed in (1, 2):
        model, optimizer = trained(seed, 3, sharded=sharded)
        state = state_of(model, optimizer, seed)
        before = whole(state)
        store.begin(Position(0, seed), state, {"seed": seed}, None)
        # A step right after: it must not get into the state.
        model(torch.ones(2, 5)).square().mean().backward()
        optimizer.step()
        store.settle(wait=True)
    return before


def loaded_on(ranks, folder, *, sharded):
    """The newest state, loaded into a network of other values, and the optimizer's next step from there."""
    store = make_store(folder, ranks=ranks)
    saved = store.newest()
    model, optimizer = trained(77, 1, sharded=sharded)
    state = state_of(model, optimizer, 77)
    store.load(saved, state)
    set_optimizer_state_dict(model, optimizer, optim_state_dict=state["optimizer"], options=FLAT)
    return {"position": saved.position.iteration, "world": saved.world, "state": whole(state)}


def no_room(*_given):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def failing_on_one(ranks, folder):
    """A rank whose disk is full: what all ranks make of it, once and again."""
    store = make_store(folder, ranks=ranks)
    store.newest()
    write = FileSystemWriter.write_data
    if ranks.place.rank == 1:
        FileSystemWriter.write_data = no_room
    store.begin(Position(0, 3), {"x": torch.ones(3)}, {}, None)
    store.settle(wait=True)
    ranks.wait()
    seen = {
        "pending": store.pending,
        "last": store.last.iteration,
        "names": sorted(path.name for path in folder.iterdir()),
    }
    try:
        store.begin(Position(0, 4), {"x": torch.ones(3)}, {}, None)
        store.settle(wait=True)
    except UserError as error:
        seen["refused"] = str(error)
    FileSystemWriter.write_data = write
    return seen


def damaged(ranks, folder):
    """Positions found after damage to the file of one rank."""
    newest = folder / "state_00_00000002"
    found = {}
    for name in ("__0_0.distcp", "__1_0.distcp", ".metadata", "manifest.json"):
        content = (newest / name).read_bytes()
        for kind, bad in {"flipped": bytes([content[0] ^ 1]) + content[1:], "gone": None}.items():
            ranks.wait()
            if ranks.main:
                (newest / name).unlink() if bad is None else (newest / name).write_bytes(bad)
            ranks.wait()
            found[f"{name} {kind}"] = make_store(folder, ranks=ranks).newest().position.iteration
            ranks.wait()
            if ranks.main:
                (newest / name).write_bytes(content)
            ranks.wait()
    return found


if __name__ == "__main__":
    by_one, by_two = map(Path, sys.argv[1:])
    with joined(1, torch.device("cpu")) as ranks:
        seen = {
            "saved": saved_on(ranks, by_two, sharded=True),
            "from two": loaded_on(ranks, by_two, sharded=True),
            "from one": loaded_on(ranks, by_one, sharded=True),
            "damaged": damaged(ranks, by_two),
            "failing": failing_on_one(ranks, by_two),
        }
    sys.stdout.write(json.dumps(seen))
    sys.stdout.flush()
    # gloo's threads may outlive Python's shutdown.
    os._exit(0)
