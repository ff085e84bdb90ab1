"""Restart states on disk: one .npz per state, whole or absent.

A state appears under its final name only after it has been written and flushed in full, so the
files that exist are the record of what a run has completed.
"""

import os
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from fuxi_ens.errors import UserError

State = TypeVar("State")


def save_state(path: Path, state: object) -> None:
    """Write a pytree of arrays so that `path` holds all of it or does not exist."""
    leaves: dict[str, Any] = {
        jax.tree_util.keystr(key): np.asarray(leaf) for key, leaf in jax.tree_util.tree_leaves_with_path(state)
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(file, **leaves)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def load_state(path: Path, like: State) -> State:
    """Read a state saved by `save_state` into the structure of `like`.

    Raises:
        ValueError: if names, shapes or dtypes differ from those of `like`.
    """
    with np.load(path, allow_pickle=False) as file:
        stored = {name: file[name] for name in file.files}

    def fill(key: tuple[object, ...], leaf: jax.Array) -> jax.Array:
        name = jax.tree_util.keystr(key)
        found = stored.pop(name, None)
        if found is None or found.shape != leaf.shape or found.dtype != leaf.dtype:
            got = "nothing" if found is None else f"{found.dtype}{found.shape}"
            raise UserError(
                f"{path} does not fit this model: {name} is {got}, expected "
                f"{leaf.dtype}{leaf.shape}; remove the run directory and start again"
            )
        return jax.numpy.asarray(found)

    state: State = jax.tree_util.tree_map_with_path(fill, like)
    if stored:
        raise UserError(f"{path} holds unknown arrays {sorted(stored)}; it is from another model")
    return state
