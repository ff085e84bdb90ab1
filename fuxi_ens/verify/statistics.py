"""Weighted sums of point statistics over regions, for one system and one init_time.

Only what adds is kept: sum(w * s) and sum(w) in float64 (verification.md 15). Roots, ratios and skill come last, in
`scorecard`, from sums over any init times. Which sums there are is decided by the `families`. The weight w is the cell
area of the global grid (mean 1), cut out by the region and by the points where the truth exists; NaN in the truth (sea
temperature over land) is a mask, NaN in a forecast where the truth exists is an error.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fuxi_ens.channels import DERIVED_SPEED, components
from fuxi_ens.errors import StoreError
from fuxi_ens.grid import Float
from fuxi_ens.stores.scratch import Scratch
from fuxi_ens.times import Leads, Times, label
from fuxi_ens.verify.areas import Areas
from fuxi_ens.verify.block import Block
from fuxi_ens.verify.climate import Climate, FieldCache
from fuxi_ens.verify.families import Family
from fuxi_ens.verify.points import Field
from fuxi_ens.verify.speed import wind_speed
from fuxi_ens.verify.systems import System

WEIGHTS: Final = "cell_area"
DIMS: Final = ("name", "lead_time", "region")

_memory: Final = (Scratch(), Scratch(), Scratch())
"""Of the points of a block and of its two components."""
_speeds: Final = Scratch()


@dataclass(frozen=True, slots=True)
class Case:
    """Sums for one scored name at one (init_time, lead_time)."""

    sums: Mapping[str, Float]
    """sum(w * s) of every sum of the families, [region, ...]"""
    weight: Float
    """sum(w), [region]"""
    members: int


CasesByLead = Mapping[str, Mapping[np.timedelta64, Case]]
"""By name and lead time."""


@dataclass(frozen=True)
class Scorer:
    """Scores one system. Threads may share it."""

    system: System
    names: tuple[str, ...]
    regions: tuple[str, ...]
    families: tuple[Family, ...]
    cache: FieldCache
    """Fields of truths, shared by all scorers"""
    climate: Climate | None = None
    """Climatology by day of the year; None unless a family needs it"""

    @cached_property
    def areas(self) -> Areas:
        """Regions on the truth's grid."""
        grid = self.system.truth.dataset
        return Areas.of(self.regions, grid["latitude"].to_numpy(), grid["longitude"].to_numpy())

    @cached_property
    def _families(self) -> tuple[Family, ...]:
        return tuple(family for family in self.families if self.system.role in family.roles)

    def statistics(self, init_time: np.datetime64, lead_times: Leads) -> xr.Dataset:
        """Sums of one init_time at the `lead_times` that the system offers; see `joined`."""
        cases = {}
        for name in self.names:
            offered = self.system.offered(name, init_time, lead_times)
            cases[name] = dict(zip(offered, self.cases(name, init_time, offered), strict=True))
        return self.joined(cases, init_time, self.offered(init_time, lead_times))

    def offered(self, init_time: np.datetime64, lead_times: Leads) -> Leads:
        """Those of `lead_times` at which the system has any of the names."""
        return np.unique(np.concatenate([self.system.offered(name, init_time, lead_times) for name in self.names]))

    def joined(self, cases: CasesByLead, init_time: np.datetime64, lead_times: Leads) -> xr.Dataset:
        """The cases of each name by lead time as a dataset: the families' sums [name, lead_time, region, ...].

        Beside them are `weight` [name, lead_time, region] and `members` [lead_time]. A case that a name does not have,
        like a 24 h sum at 6 h, has weight 0.
        """
        absent = _absent(cases)
        rows = [[cases[name].get(lead_time, absent) for lead_time in lead_times] for name in self.names]
        members = np.array([[case.members for case in row] for row in rows], np.int32).max(axis=0)
        result = xr.Dataset(
            {"weight": (DIMS, np.array([[case.weight for case in row] for row in rows]))},
            {"name": list(self.names), "lead_time": lead_times, "region": list(self.regions), "init_time": init_time},
        )
        for family in self._families:
            result = self._with_family(result, family, rows, lead_times).assign_coords(
                family.coordinates(int(members[0]))
            )
        result["members"] = "lead_time", members
        return result.assign_attrs(
            members=_members_label(members), families=" ".join(family.name for family in self._families)
        )

    def _with_family(
        self, result: xr.Dataset, family: Family, rows: Sequence[Sequence[Case]], lead_times: Leads
    ) -> xr.Dataset:
        """Add the sums of a family at the lead times that it holds; nothing if there are none."""
        kept = [index for index, lead_time in enumerate(lead_times) if family.holds(lead_time)]
        if not kept:
            return result
        dims = ("name", family.lead_dimension, *(["region"] if family.regional else []))
        sums = {
            name: ((*dims, *further), np.array([[row[index].sums[name] for index in kept] for row in rows]))
            for name, further in family.sums.items()
        }
        return result.assign(sums).assign_coords({dims[1]: lead_times[kept], **family.places(self.areas)})

    def cases(self, name: str, init_time: np.datetime64, lead_times: Leads) -> list[Case]:
        """One case per lead time. Raises StoreError for members that are not finite."""
        if self._takes_components(name):
            parts = [self._fields(part, init_time, lead_times, slot) for slot, part in enumerate(components(name))]
            return [self._speed_case(name, u, v) for u, v in zip(*parts, strict=True)]
        return [
            self.case(name, init_time, block.lead_time, block.ensemble, block.truth)
            for block in self._fields(name, init_time, lead_times)
        ]

    def truths(self, name: str, valid_times: Times) -> list[Field]:
        """[latitude, longitude] in file units, each read once for all that are verified at its time."""
        store = self.system.truth
        keys = [(store.source, name, valid_time) for valid_time in valid_times]
        # Copies, because a field kept alone would keep all that were read with it.
        return self.cache.get_all(
            keys, lambda absent: [field.copy() for field in store.fields(name, valid_times[absent]).to_numpy()]
        )

    def case(
        self,
        name: str,
        init_time: np.datetime64,
        lead_time: np.timedelta64,
        ensemble: Field,
        truth: Field,
        components: tuple[Block, Block] | None = None,
    ) -> Case:
        """Sums of one field, `ensemble` [number, latitude, longitude] and `truth` [latitude, longitude] in file units.

        NaN in the truth gets weight 0. `components` are those of a wind speed, if a family needs them. Raises
        StoreError where a member is not finite but the truth exists.
        """
        climatology = self.climate.at(name, init_time + lead_time) if self.climate else None
        block = Block(name, init_time, lead_time, ensemble, truth, self.areas, climatology, components, _memory[0])
        families = [family for family in self._families if family.holds(lead_time)]
        for family in families:
            family.announce(block)
        if not (np.isfinite(block.points.error) | ~block.valid).all():
            self._refuse(name, init_time, lead_time)
        sums: dict[str, Float] = {}
        for family in families:
            sums.update(family.of_block(block))
        return Case(sums, block.weight, block.members)

    def case_of_components(
        self, name: str, init_time: np.datetime64, lead_time: np.timedelta64, ensembles: Sequence[Field]
    ) -> Case:
        """Like `case`, from the members of a channel, or of the eastward and the northward wind of a speed."""
        when = init_time, lead_time
        times = np.array([init_time + lead_time])
        if len(ensembles) == 1:
            return self.case(name, *when, ensembles[0], self.truths(name, times)[0])
        if not self._takes_components(name):
            return self.case(name, *when, _speed(*ensembles), self.truths(name, times)[0])
        truths = [self.truths(part, times)[0] for part in components(name)]
        u, v = (
            Block(part, *when, ensemble, truth, self.areas, memory=memory)
            for part, ensemble, truth, memory in zip(components(name), ensembles, truths, _memory[1:], strict=True)
        )
        return self._speed_case(name, u, v)

    def _takes_components(self, name: str) -> bool:
        return name in DERIVED_SPEED and any(family.needs_components for family in self._families)

    def _speed_case(self, name: str, u: Block, v: Block) -> Case:
        """Speed from components that are read anyway, instead of reading them twice."""
        ensemble, truth = _speed(u.ensemble, v.ensemble), wind_speed(u.truth, v.truth)
        return self.case(name, u.init_time, u.lead_time, ensemble, truth, (u, v))

    def _fields(self, name: str, init_time: np.datetime64, lead_times: Leads, slot: int = 0) -> Iterator[Block]:
        """One field after another, in order of `lead_times`; each holds until the next of the same slot."""
        ensembles = self.system.ensembles(name, init_time, lead_times, slot)
        truths = self.truths(name, init_time + lead_times)
        for lead_time, ensemble, truth in zip(lead_times, ensembles, truths, strict=True):
            yield Block(name, init_time, lead_time, ensemble, truth, self.areas, memory=_memory[1 + slot])

    def _refuse(self, name: str, init_time: np.datetime64, lead_time: np.timedelta64) -> None:
        marker = f"{self.system.source}/.complete/{label(init_time)}"
        raise StoreError(
            f"{self.system.name} ({self.system.source}) has NaN or infinite members for {name}, init_time "
            f"{label(init_time)}, lead_time {lead_time / np.timedelta64(1, 'h'):g} h: it was never written, was lost, "
            f"or has blown up; delete {marker} if it is there, and run `fuxi-ens forecast` again"
        )


def _absent(cases: CasesByLead) -> Case:
    """No case: weight 0, sums NaN, because those of whole maps have no weight that says so."""
    present = [case for by_lead in cases.values() for case in by_lead.values()]
    # Of all, because some families hold some lead times only.
    sums = {name: values for case in present for name, values in case.sums.items()}
    empty = {name: np.full_like(values, np.nan) for name, values in sums.items()}
    return Case(empty, np.zeros_like(present[0].weight), members=0)


def _speed(u: Field, v: Field) -> Field:
    """Of all members; holds until the thread makes the next."""
    return wind_speed(u, v, _speeds.take(u.shape, np.float32))


def _members_label(members: NDArray[np.int32]) -> str:
    """`50`, or `6..10` if the number varies with lead time."""
    return "..".join(str(count) for count in sorted({members.min(), members.max()}))
