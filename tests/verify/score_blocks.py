"""Blocks of random fields on 8 x 16 points with a climatology, and pooled scores of a family of some of them."""

import numpy as np
import pandas as pd
import xarray as xr

from fuxi_ens.grid import REGIONS, LatLonGrid, area_weights
from fuxi_ens.verify.areas import Areas
from fuxi_ens.verify.block import Block

GRID = LatLonGrid(8, 16)
REGION_NAMES = ("global", "europe")
AREAS = Areas.of(REGION_NAMES, GRID.latitude, GRID.longitude)
WEIGHTS = np.stack(
    [area_weights(GRID.latitude)[:, None] * REGIONS[name].mask(GRID.latitude, GRID.longitude) for name in REGION_NAMES]
)
"""[region, latitude, longitude]"""


class Climate:
    """A climatology of normal values about `mean`."""

    def __init__(self, mean, scale=1.0):
        self._mean, self._scale = mean, scale

    def mean(self):
        return self._mean

    def std(self):
        return np.full_like(self._mean, self._scale)

    def quantile(self, q):
        shift = {0.02: -2.05, 0.05: -1.64, 0.1: -1.28, 0.9: 1.28, 0.95: 1.64, 0.98: 2.05, 0.99: 2.33}[q]
        return (self._mean + np.float32(self._scale * shift)).astype(np.float32)


def make_block(rng, members=5, name="t850", offset=0.0, day=0, lead_hours=24, holes=0, **further):
    """A block whose members and truth share a signal; `holes` points have no truth."""
    shape = (GRID.height, GRID.width)
    mean = (offset + rng.standard_normal(shape)).astype(np.float32)
    signal = mean + rng.standard_normal(shape)
    ensemble = (signal + 0.7 * rng.standard_normal((members, *shape))).astype(np.float32)
    truth = (signal + 0.7 * rng.standard_normal(shape)).astype(np.float32)
    truth.flat[:holes] = np.nan
    init_time = np.datetime64("2019-01-10", "ns") + np.timedelta64(day, "D")
    lead_time = np.timedelta64(lead_hours, "h").astype("timedelta64[ns]")
    return Block(name, init_time, lead_time, ensemble, truth, AREAS, Climate(mean), **further)


def statistics(family, blocks, basis=()):
    """Sums of `blocks`, one per init_time, as the statistics of a system: [init_time, name, lead_time, region, ...]."""
    parts = [_statistics(block, (*basis, family)) for block in blocks]
    result = xr.concat(parts, "init_time")
    return result.assign_attrs(estimator="fair", role="forecast")


def _statistics(block, families):
    dims = ("init_time", "name", "lead_time", "region")
    coords = {
        "init_time": [block.init_time],
        "name": [block.name],
        "lead_time": pd.TimedeltaIndex([block.lead_time]),
        "region": list(block.areas.regions),
    }
    data = xr.Dataset({"weight": (dims, block.weight[None, None, None])}, coords)
    data["members"] = ("init_time", "lead_time"), np.array([[block.members]])
    for family in families:
        data = data.assign_coords(family.coordinates(block.members))
        own = dims if family.regional else dims[:-1]
        for name, values in family.of_block(block).items():
            data[name] = (*own, *family.sums[name]), np.asarray(values)[None, None, None]
    return data


def scores_of(family, blocks, basis=()):
    """Scores [region] of one name and lead_time."""
    result = family.scores(statistics(family, blocks, basis))
    return {name: score.isel(name=0, lead_time=0).to_numpy() for name, score in result.items()}


def cases(blocks, region=0):
    """Members [case, number], truth, climatology mean and weight [case] of all points with weight, float64."""
    parts = [], [], [], []
    for block in blocks:
        used = (WEIGHTS[region] > 0) & ~np.isnan(block.truth)
        parts[0].append(block.ensemble[:, used].T)
        parts[1].append(block.truth[used])
        parts[2].append(block.climatology.mean()[used])
        parts[3].append(WEIGHTS[region][used])
    return [np.concatenate(part).astype(np.float64) for part in parts]
