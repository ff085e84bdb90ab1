"""The frames that forecasts start from: from any store the border opens, an archive or files of today.

Only what the network sees is asked of a store. Accumulations are outputs: they are zeroed on the way in (model.md 1.2),
so they are 0 here, and an analysis need not have them.
"""

import logging
from dataclasses import dataclass

import numpy as np
import xarray as xr

from fuxi_ens.channels import Channel, channel
from fuxi_ens.config import Config
from fuxi_ens.data.era5 import Analysis, Frames, open_analysis
from fuxi_ens.data.samples import frame_offsets, frame_times
from fuxi_ens.errors import StoreError
from fuxi_ens.stores import open_store
from fuxi_ens.times import Times, hours, label

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InitialConditions:
    """Histories by init time."""

    analysis: Analysis
    """Of the input channels alone."""
    channels: tuple[str, ...]
    """Channels of a history, in tensor order."""
    step_size: np.timedelta64

    @property
    def store(self) -> str:
        """The store as the user wrote it."""
        return self.analysis.store

    def history(self, init_time: np.datetime64) -> Frames:
        """The frames up to `init_time`, [HISTORY, channel, latitude, longitude] in model units.

        Raises StoreError for absent times, and for values that are missing where they must not be.
        """
        known = self.analysis.read(frame_times(init_time, self.step_size, 0))
        history = np.zeros((len(known), len(self.channels), *self.analysis.shape), np.float32)
        history[:, [self.channels.index(name) for name in self.analysis.channels]] = known
        return history

    def require(self, init_times: Times) -> None:
        """Raise StoreError unless all histories are there and the first one looks like the atmosphere."""
        self.analysis.require(np.concatenate([frame_times(time, self.step_size, 0) for time in init_times]))
        self.analysis.require_plausible(init_times[0])

    def latest(self) -> np.datetime64:
        """The newest time with a whole history. Raises StoreError if there is none."""
        known = self.analysis.times
        offsets = frame_offsets(self.step_size, 0)
        whole = known[np.all([np.isin(known + offset, known) for offset in offsets], axis=0)]
        if not whole.size:
            covered = f"covers {label(known[0])} to {label(known[-1])}" if known.size else "is empty"
            raise StoreError(
                f"{self.store} holds no two analyses that are {self.step_size / hours(1):g} h apart, from which a "
                f"forecast starts; it {covered}; add the analysis before the newest one"
            )
        newest: np.datetime64 = whole[-1]
        return newest


def open_initial_conditions(config: Config) -> InitialConditions:
    """Open forecast.store, or data.store. Raises StoreError that names all input channels that are absent."""
    source, channels = config.forecast.store or config.data.store, config.model.channels
    inputs = tuple(name for name in channels if channel(name).variable.input)
    try:
        analysis = open_analysis(
            source, inputs, config.model.grid, config.data.step_size, threads=config.data.read_threads
        )
    except StoreError:
        _name_absent(source, inputs)
        raise
    return InitialConditions(analysis, channels, config.data.step_size)


def resolved(config: Config) -> Config:
    """The config with the date that `latest` stands for now; others as they are. Raises StoreError."""
    if not config.forecast.init_times.is_open:
        return config
    initial = open_initial_conditions(config)
    newest = initial.latest()
    log.info("init time %s, the newest of %s", label(newest), initial.store)
    values = config.model_dump()
    values["forecast"]["init_times"] = {"latest": newest.astype("datetime64[us]").item()}
    return Config.model_validate(values)


def _name_absent(source: str, inputs: tuple[str, ...]) -> None:
    """Raise StoreError if the store lacks input channels, and name them all."""
    dataset = open_store(source).dataset
    absent = [item for item in map(channel, inputs) if not _has(dataset, item)]
    if absent:
        named = ", ".join(f"{item.name} ({item.variable.name})" for item in absent)
        raise StoreError(
            f"{source} cannot start a forecast: of {len(inputs)} input channels it lacks {len(absent)}: {named}; it "
            f"has {sorted(map(str, dataset.data_vars))}. Add files with them (a pattern with `*` names several), or "
            "set forecast.store to an analysis that has them; accumulations are not needed"
        )


def _has(dataset: xr.Dataset, item: Channel) -> bool:
    if item.variable.file_name not in dataset:
        return False
    array = dataset[item.variable.file_name]
    return item.level is None or ("level" in array.coords and item.level in array["level"].values)
