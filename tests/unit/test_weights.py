"""Weights files written tensor by tensor."""

import hashlib

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save

from fuxi_ens.weights import write_weights


class Held:
    """A weight that notes when it is read."""

    def __init__(self, values, log=None):
        self.values, self.log = values, log if log is not None else []
        self.shape = values.shape

    def read(self):
        self.log.append(self.shape)
        return self.values


@pytest.fixture
def tensors(rng):
    shapes = {"b.weight": (3, 5), "a": (), "decoder.0.x": (2, 1, 4, 4), "\N{GREEK SMALL LETTER BETA}": (7,)}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def test_the_bytes_are_those_of_the_safetensors_library(tensors, tmp_path):
    found = write_weights(tmp_path / "w", {name: Held(values) for name, values in tensors.items()})
    expected = save({name: torch.from_numpy(values) for name, values in tensors.items()})
    assert (tmp_path / "w").read_bytes() == expected
    assert found == hashlib.sha256(expected).hexdigest()
    assert all(np.array_equal(value.numpy(), tensors[name]) for name, value in load_file(tmp_path / "w").items())


def test_a_transposed_view_is_written_in_its_own_order(tensors, tmp_path):
    write_weights(tmp_path / "w", {"t": Held(tensors["b.weight"].T)})
    assert np.array_equal(load_file(tmp_path / "w")["t"].numpy(), tensors["b.weight"].T)


def test_each_weight_is_read_once_and_nothing_is_left_of_a_failure(tensors, tmp_path):
    log = []
    write_weights(tmp_path / "w", {name: Held(values, log) for name, values in tensors.items()})
    assert sorted(log) == sorted(values.shape for values in tensors.values())

    class Broken(Held):
        def read(self):
            raise OSError("no such page")

    with pytest.raises(OSError, match="page"):
        write_weights(tmp_path / "x", {"a": Held(tensors["a"]), "b": Broken(tensors["b.weight"])})
    assert [path.name for path in tmp_path.iterdir()] == ["w"]
