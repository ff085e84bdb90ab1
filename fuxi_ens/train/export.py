"""A model from a saved state: what a training has reached so far, or was best at, before it is finished."""

from pathlib import Path

import torch

from fuxi_ens.checkpoint import held, write_checkpoint
from fuxi_ens.config import Config
from fuxi_ens.data.statistics import load_statistics
from fuxi_ens.errors import UserError
from fuxi_ens.paths import RunPaths
from fuxi_ens.provenance import config_hash, provenance
from fuxi_ens.train.average import RunningAverage
from fuxi_ens.train.ranks import Ranks
from fuxi_ens.train.run import averaged_weights, deciding, restore
from fuxi_ens.train.setup import initial_model
from fuxi_ens.train.state import SavedState, StateStore


def export_state(config: Config, folder: Path, *, best: bool) -> SavedState:
    """Write the averaged weights of a state of the run as a model; returns the state.

    The newest state, or with `best` the one with the lowest validation score among those that are kept. Raises
    UserError if there is none, or if the states belong to other settings.
    """
    ranks = Ranks.alone()
    paths = RunPaths(config.run.folder)
    store = StateStore(paths.training, config_hash(config, *deciding(config)), config.train.keep_states, ranks)
    saved = store.best() if best else store.newest()
    if saved is None:
        raise UserError(
            f"{paths.training} holds no state{' with a validation score' if best else ''}; a training writes one every "
            f"{config.train.checkpoint_every} iterations"
        )
    model = initial_model(config, load_statistics(paths.statistics, config), torch.device("cpu"))
    average = RunningAverage(model, config.train.ema_decay)
    restore(store, saved, model, average)
    facts = provenance(config, *deciding(config)) | {"state": saved.position.folder_name}
    weights = held(averaged_weights(model, average))
    write_checkpoint(folder, config.model, weights, config.data.step_size_hours, facts)
    return saved
