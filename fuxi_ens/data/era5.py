"""Analyses as frames: [time, channel, latitude, longitude] in model units on the model's grid and steps.

`fuxi_ens.stores` turns whatever is on disk into our names, orientation and units; here it is checked that the result is
what the model needs, and frames are read by valid time.
"""

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fuxi_ens.config import Config, Period
from fuxi_ens.data.missing import require_values
from fuxi_ens.data.plausible import require_plausible
from fuxi_ens.data.samples import require_complete
from fuxi_ens.data.skip import load_skip_list
from fuxi_ens.errors import StoreError
from fuxi_ens.grid import LatLonGrid
from fuxi_ens.progress import Advance
from fuxi_ens.stores import Fields, open_store
from fuxi_ens.stores.valid_time import LONGEST_STEP
from fuxi_ens.times import Times, label

log = logging.getLogger(__name__)

Frames = NDArray[np.float32]

_ANALYSIS_HOURS = 18.0
"""The longest step of what archives call analyses: accumulations of ERA5, forecast from 06 and 18 UTC."""


class FrameReader(Protocol):
    """Anything that gives frames by valid time."""

    @property
    def channels(self) -> tuple[str, ...]:
        """Channels of a frame, in order."""
        ...

    @property
    def times(self) -> Times:
        """Valid times that can be read, increasing."""
        ...

    @property
    def shape(self) -> tuple[int, int]:
        """Latitudes and longitudes of a frame."""
        ...

    def read(self, times: Times) -> Frames:
        """Frames at `times`, [time, channel, latitude, longitude] float32 in model units."""
        ...

    def read_into(self, times: Times, out: Frames) -> None:
        """Like `read`, into memory that is there."""
        ...


@dataclass(frozen=True)
class Analysis:
    """A checked view of an analysis store; implements FrameReader."""

    store: str
    fields: Fields
    grid: LatLonGrid
    times: Times
    """Valid times on the model's steps (00, 06, 12, 18 UTC), without those of the skip list."""
    skipped: Times
    """Times of the skip list."""

    @property
    def channels(self) -> tuple[str, ...]:
        """See FrameReader."""
        return self.fields.channels

    @property
    def shape(self) -> tuple[int, int]:
        """See FrameReader."""
        return self.fields.shape

    def read(self, times: Times) -> Frames:
        """See FrameReader. Raises StoreError for absent times and for missing values outside the sea temperature."""
        out = np.empty((len(times), len(self.channels), *self.shape), np.float32)
        self.read_into(times, out)
        return out

    def read_into(self, times: Times, out: Frames) -> None:
        """See FrameReader and `read`."""
        self.fields.read_into(self._positions(times), out)
        self._refuse_missing(out, times)

    def require(self, times: Times) -> None:
        """Raise StoreError unless the store has all these times."""
        self._positions(times)

    def require_complete(self, periods: tuple[Period, ...], step_size: np.timedelta64) -> None:
        """Raise StoreError unless every step of every period is there or in the skip list."""
        require_complete(np.union1d(self.times, self.skipped), periods, step_size, self.store)

    def require_plausible(self, time: np.datetime64) -> None:
        """Raise StoreError unless the fields of one time look like the atmosphere, whatever their labels say."""
        when = np.array([time])
        require_plausible(self.read(when)[0], self.channels, self.grid, time, self.store)

    def _positions(self, times: Times) -> NDArray[np.intp]:
        stored = self.fields.times
        position = np.searchsorted(stored, times)
        found = (position < len(stored)) & (stored[np.minimum(position, len(stored) - 1)] == times)
        if not found.all():
            raise StoreError(
                f"{self.store} holds no analysis at {label(times[~found][0])}; it covers {label(stored[0])} to "
                f"{label(stored[-1])}"
            )
        return position

    def _refuse_missing(self, frames: Frames, times: Times) -> None:
        checks = [
            partial(require_values, field, name, time, self.store)
            for time, frame in zip(times, frames, strict=True)
            for name, field in zip(self.channels, frame, strict=True)
        ]
        self.fields.run(checks)


@dataclass(frozen=True)
class FrameCache:
    """Frames decoded once and kept in memory; implements FrameReader."""

    channels: tuple[str, ...]
    times: Times
    frames: Frames

    @property
    def shape(self) -> tuple[int, int]:
        """See FrameReader."""
        return self.frames.shape[2], self.frames.shape[3]

    def read(self, times: Times) -> Frames:
        """See FrameReader."""
        frames: Frames = self.frames[self._positions(times)]
        return frames

    def read_into(self, times: Times, out: Frames) -> None:
        """See FrameReader."""
        # mode "clip" writes straight into `out`; the default goes through a buffer of the same size.
        np.take(self.frames, self._positions(times), axis=0, out=out, mode="clip")

    def _positions(self, times: Times) -> NDArray[np.intp]:
        position = np.searchsorted(self.times, times)
        assert np.array_equal(self.times[position], times), "the cache was filled for other times"
        return position


def open_analysis(
    store: str,
    channels: tuple[str, ...],
    grid: LatLonGrid,
    step_size: np.timedelta64,
    *,
    threads: int = 0,
    skip_list: Path | None = None,
    made_from: tuple[str, ...] = (),
) -> Analysis:
    """Open and check an analysis store: it must hold every channel on exactly this grid, times increasing.

    `skip_list` may be one of this store or of those it was `made_from`.
    Raises StoreError that names what is absent.
    """
    opened = open_store(store)
    fields = Fields(opened, channels, threads=threads)
    require_grid(opened.dataset, grid, store)
    longest = opened.dataset.attrs.get(LONGEST_STEP, 0.0)
    if longest > _ANALYSIS_HOURS:
        log.warning(
            "%s holds forecasts of up to %g h, which are read as if they were analyses of their valid times; "
            "name the files with steps up to %g h only", store, longest, _ANALYSIS_HOURS,
        )  # fmt: skip
    stored = fields.times
    if len(stored) == 0 or np.any(np.diff(stored) <= np.timedelta64(0)):
        raise StoreError(
            f"{store}: its {len(stored)} times must be in increasing order without duplicates; "
            f"`fuxi-ens data audit {store}` shows where they are not"
        )
    skipped = load_skip_list(skip_list, store, *made_from) if skip_list else stored[:0]
    on_step = (stored - stored.astype("datetime64[D]")) % step_size == np.timedelta64(0)
    return Analysis(store, fields, grid, stored[on_step & ~np.isin(stored, skipped)], skipped)


def open_configured(config: Config, channels: tuple[str, ...] | None = None) -> Analysis:
    """The analysis of data.store, without the times of data.skip_list; model.channels unless others are given.

    Raises StoreError.
    """
    data, model = config.data, config.model
    return open_analysis(
        data.store,
        channels or model.channels,
        model.grid,
        data.step_size,
        threads=data.read_threads,
        skip_list=data.skip_list,
        made_from=(config.prepare.source,) if config.prepare else (),
    )


def cache_frames(analysis: Analysis, times: Times, advance: Advance, block: int = 64) -> FrameCache:
    """Decode `times` block by block into memory; `advance` is told the number of frames done."""
    frames = np.empty((len(times), len(analysis.channels), *analysis.shape), np.float32)
    for start in range(0, len(times), block):
        part = times[start : start + block]
        analysis.read_into(part, frames[start : start + len(part)])
        advance(len(part), "")
    return FrameCache(analysis.channels, times, frames)


def require_grid(dataset: xr.Dataset, grid: LatLonGrid, store: str) -> None:
    """Raise StoreError unless a dataset behind the border lies on exactly the model's grid."""
    absent = [dim for dim in ("latitude", "longitude") if dim not in dataset.dims]
    if absent:
        raise StoreError(f"{store} has no dimensions {absent}, only {sorted(map(str, dataset.dims))}")
    for dim, expected in (("latitude", grid.latitude), ("longitude", grid.longitude)):
        got = dataset[dim].values
        if got.shape != expected.shape or not np.allclose(got, expected, atol=1e-3):
            raise StoreError(
                f"{store} has {len(got)} {dim}s {got[0]:g}..{got[-1]:g}, the model's grid {grid.height}x{grid.width} "
                f"expects {len(expected)} from {expected[0]:g} to {expected[-1]:g}; regrid the store "
                "(`fuxi-ens data prepare`) or change model"
            )
