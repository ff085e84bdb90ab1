"""Weighted sums of point statistics over regions, for one system and one init_time.

Only what adds is kept: sum(w * s) and sum(w) in float64 (verification.md 15). Roots, ratios and skill come
last, in `scorecard`, from sums over any init times. The weight w is the cell area of the global grid (mean
1), cut out by the region and by the points where the truth exists; NaN in the truth (sea temperature over
land) is a mask, NaN in a forecast where the truth exists is an error.
"""

import itertools
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fuxi_ens.errors import StoreError
from fuxi_ens.grid import REGIONS, Float, area_weights
from fuxi_ens.times import Leads, label
from fuxi_ens.verify import scores
from fuxi_ens.verify.systems import System

STATISTICS: Final = (
    "crps_fair",
    "crps_standard",
    "squared_error_of_mean",
    "variance",
    "error_of_mean",
    "absolute_error_of_mean",
)
"""Point statistics; `crps_fair` and `variance` are NaN for one member."""
WEIGHTS: Final = "cell_area"


@dataclass(frozen=True, slots=True)
class Case:
    """Sums for one scored name at one (init_time, lead_time)."""

    sums: Float
    """sum(w * s), [statistic, region]"""
    weight: Float
    """sum(w), [region]"""
    ranks: Float
    """Weighted global counts of the truth's rank, [rank]"""


@dataclass(frozen=True)
class Scorer:
    """Scores one system. Threads may share it."""

    system: System
    names: tuple[str, ...]
    regions: tuple[str, ...]
    _by_valid_time: dict[tuple[str, np.datetime64], Case] = field(init=False, default_factory=dict)
    """Cases of a climatology, which depend on the valid_time only: each serves up to 30 init times."""

    def statistics(self, init_time: np.datetime64, lead_times: Leads) -> xr.Dataset:
        """Sums of one init_time: `STATISTICS` and `weight` [name, lead_time, region], `members` [lead_time].

        Stores also give `rank_counts` [name, lead_time, rank]. Raises StoreError for NaN members.
        """
        lead_times = self.system.offered(lead_times)
        cases = [self._cases(name, init_time, lead_times) for name in self.names]
        sums = np.array([[case.sums for case in row] for row in cases])
        dims = ("name", "lead_time", "region")
        result = xr.Dataset(
            {name: (dims, sums[:, :, index]) for index, name in enumerate(STATISTICS)},
            {
                "name": list(self.names),
                "lead_time": lead_times,
                "region": list(self.regions),
                "init_time": init_time,
            },
        )
        result["weight"] = dims, np.array([[case.weight for case in row] for row in cases])
        result["members"] = "lead_time", np.array([len(case.ranks) - 1 for case in cases[0]], np.int32)
        if self.system.role in ("forecast", "baseline"):
            result["rank_counts"] = (
                ("name", "lead_time", "rank"),
                np.array([[c.ranks for c in row] for row in cases]),
            )
        return result.assign_attrs(members=_members_label(result["members"].to_numpy()))

    def _cases(self, name: str, init_time: np.datetime64, lead_times: Leads) -> list[Case]:
        """One case per lead time; those of a climatology are computed once per valid_time."""
        if self.system.role != "climatology":
            return self._new_cases(name, init_time, lead_times)
        keys = [(name, valid_time) for valid_time in init_time + lead_times]
        fresh = np.array([key not in self._by_valid_time for key in keys], dtype=bool)
        new = self._new_cases(name, init_time, lead_times[fresh])
        self._by_valid_time.update(zip(itertools.compress(keys, fresh), new, strict=True))
        return [self._by_valid_time[key] for key in keys]

    def _new_cases(self, name: str, init_time: np.datetime64, lead_times: Leads) -> list[Case]:
        cases: list[Case] = []
        for block in self.system.blocks(name, init_time, lead_times):
            leads = block["lead_time"].to_numpy()
            # The grids are known to be equal; their coordinates may differ by rounding.
            truth = self.system.truth.fields(name, init_time + leads).rename(valid_time="lead_time")
            truth = truth.drop_vars(["lead_time", "latitude", "longitude"])
            self._refuse_unwritten(block.rename(name), truth, init_time)
            cases += score_block(block, truth, self.regions)
        return cases

    def _refuse_unwritten(self, forecast: xr.DataArray, truth: xr.DataArray, init_time: np.datetime64) -> None:
        """Raise StoreError where a member is not finite but the truth exists."""
        finite = xr.ufuncs.isfinite(forecast.sum("number", skipna=False)) | truth.isnull()
        complete = finite.all(("latitude", "longitude"))
        if not complete.all():
            lead_time = forecast["lead_time"].to_numpy()[~complete.to_numpy()][0]
            marker = f"{self.system.source}/.complete/{label(init_time)}"
            raise StoreError(
                f"{self.system.name} ({self.system.source}) has NaN or infinite members for {forecast.name}, "
                f"init_time {label(init_time)}, lead_time {lead_time / np.timedelta64(1, 'h'):g} h: it was never "
                f"written, was lost, or has blown up; delete {marker} if it is there, and run `fuxi-ens forecast` again"
            )


def point_statistics(forecast: xr.DataArray, truth: xr.DataArray) -> xr.Dataset:
    """The `STATISTICS` per point, reduces `number`; the sort, which costs most, serves both CRPS."""
    members = forecast.sizes[scores.MEMBER]
    terms = scores.crps_terms(forecast, truth)
    error = scores.error_of_mean(forecast, truth)
    standard = scores.combine_crps_terms(*terms, members, "standard")
    fair = scores.combine_crps_terms(*terms, members, "fair") if members > 1 else standard * np.nan
    points = (fair, standard, error**2, scores.variance(forecast), error, abs(error))
    return xr.Dataset(dict(zip(STATISTICS, points, strict=True)))


def score_block(forecast: xr.DataArray, truth: xr.DataArray, regions: tuple[str, ...]) -> list[Case]:
    """Sums for each lead time of `forecast` [lead_time, number, latitude, longitude] and `truth`, one name.

    NaN in the truth gets weight 0.
    """
    valid = truth.notnull()
    # 0 where masked, because NaN * 0 would make the sum NaN.
    points = point_statistics(forecast, truth).where(valid, 0.0)
    values = points.to_array("statistic").transpose("lead_time", "statistic", *truth.dims[1:]).to_numpy()
    area, masks = _area(forecast), _masks(forecast, regions)
    ranks = scores.rank_histogram(forecast, truth, valid * area, truth.dims[1:]).to_numpy()
    cases = []
    for point, cell, rank in zip(values, (valid * area).to_numpy(), ranks, strict=True):
        weights = masks * cell
        # Not BLAS, whose sums depend on the number of threads: equal runs give equal bits.
        sums = np.einsum("sij,rij->sr", point.astype(np.float64), weights, optimize=False)
        cases.append(Case(sums, weights.sum(axis=(1, 2)), rank))
    return cases


def _members_label(members: NDArray[np.int32]) -> str:
    """`50`, or `6..10` if the number varies with lead time."""
    return "..".join(str(count) for count in sorted({members.min(), members.max()}))


def _area(field: xr.DataArray) -> xr.DataArray:
    """Cell area of the global grid, [latitude], without coordinates, mean 1."""
    return xr.DataArray(area_weights(field["latitude"].to_numpy()), dims="latitude")


def _masks(field: xr.DataArray, regions: tuple[str, ...]) -> NDArray[np.bool_]:
    """Points of each region, [region, latitude, longitude]."""
    latitude, longitude = field["latitude"].to_numpy(), field["longitude"].to_numpy()
    return np.stack([REGIONS[region].mask(latitude, longitude) for region in regions])
