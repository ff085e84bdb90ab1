"""A model out of a saved state equals what training would have written there."""

import pytest
import torch
from tiny_run import new_run

from fuxi_ens.checkpoint import load_checkpoint
from fuxi_ens.errors import UserError
from fuxi_ens.paths import RunPaths
from fuxi_ens.train.export import export_state
from fuxi_ens.train.loop import fit
from fuxi_ens.train.state import Position


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory):
    every = {"train.checkpoint_every": 1, "train.validate_every": 1, "train.keep_states": 9}
    config = new_run(world, tmp_path_factory.mktemp("export"), every)
    fit(config)
    return config


def weights(folder):
    return load_checkpoint(folder, posterior=True).model.state_dict()


def test_the_newest_state_of_a_finished_run_is_its_model(finished, tmp_path):
    saved = export_state(finished, tmp_path, best=False)
    assert saved.position == Position(2, 0)
    mine, theirs = weights(tmp_path), weights(RunPaths(finished.run.folder).model)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_the_best_state_is_that_with_the_lowest_score(finished, tmp_path):
    saved = export_state(finished, tmp_path, best=True)
    assert saved.position == Position(1, 1), "of the last stage, the end of a stage has no score"
    assert load_checkpoint(tmp_path).provenance["state"] == "state_01_00000001"


def test_a_run_that_saved_nothing_has_nothing_to_export(world, tmp_path):
    with pytest.raises(UserError, match="holds no state; a training writes one every 2 iterations"):
        export_state(new_run(world, tmp_path), tmp_path / "model", best=False)
