"""The statistics of `fuxi-ens verify` as a sink of the forecast: a lead time is scored and forgotten.

Fields go the way to the store (choice, regridding, file units, rounding) and from there, without a disk between, the
way of verification. So the files are those that `fuxi-ens verify` would make from the store, bit for bit.

Shape legend: M members, C channels, H latitude, W longitude.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from fuxi_ens.channels import SUMS_24H, channel, components, in_tensor_order
from fuxi_ens.config import Config
from fuxi_ens.data.era5 import Frames
from fuxi_ens.errors import UserError
from fuxi_ens.files import write_atomic
from fuxi_ens.forecast.layout import layout_of
from fuxi_ens.forecast.shard import FieldMaker, Shard
from fuxi_ens.forecast.sink import FailedMember, ForecastPlan, OpenSink, WorkItem
from fuxi_ens.forecast.store_sink import open_store_sink
from fuxi_ens.forecast.writer import BackgroundWriter
from fuxi_ens.paths import RunPaths
from fuxi_ens.provenance import provenance
from fuxi_ens.stores.sums import parts_of, summed
from fuxi_ens.times import Leads, hours, lead_times
from fuxi_ens.verify.files import (
    given_up_path,
    is_complete,
    require_identity,
    statistics_path,
    write_statistics,
)
from fuxi_ens.verify.opened import open_planned
from fuxi_ens.verify.run import attributes_of, identity_of
from fuxi_ens.verify.sample import Sample
from fuxi_ens.verify.statistics import Case, Scorer
from fuxi_ens.verify.work import scorers_of

log = logging.getLogger(__name__)
_WAITING = 1
"""Lead times that wait to be scored."""


def sinks(config: Config) -> tuple[OpenSink, ...]:
    """Where the forecast of a run goes: into the store, into statistics, or both."""
    kept: tuple[OpenSink, ...] = (open_store_sink,) if config.forecast.keep_fields else ()
    return (*kept, open_scores_sink) if config.forecast.scores else kept


def open_scores_sink(plan: ForecastPlan) -> "ScoresSink":
    """Open truth and baseline; raises UserError when an init time is made in several blocks of members."""
    config = plan.config
    if len(config.forecast.member_blocks) > 1:
        raise UserError(
            f"forecast.scores needs all members of an init time at once, and forecast.members_per_item is "
            f"{config.forecast.members_per_item}; leave it out"
        )
    systems, sample = open_planned(config)
    scorer = scorers_of(config, systems[:1])[0]
    return ScoresSink(plan, scorer, sample)


class ScoresSink:
    """Scores items; see `Sink`. Holds one lead time of all members, and one more that waits."""

    def __init__(self, plan: ForecastPlan, scorer: Scorer, sample: Sample) -> None:
        """Start the thread that scores."""
        config = plan.config
        self._plan, self._scorer, self._sample = plan, scorer, sample
        needed = tuple({part for name in config.verify.channels for part in components(name)})
        # One lead time is collected at a time, of what is scored.
        self._layout = replace(layout_of(config), channels=in_tensor_order(needed), leads_per_shard=1)
        self._maker = FieldMaker(self._layout, config.model.grid)
        self._columns = [plan.channels.index(name) for name in self._layout.channels]
        self._steps = lead_times(config.data.step_size, config.forecast.steps)
        self._about = provenance(config, config.data, config.forecast, config.verify)
        self._identity = identity_of(scorer.system, self._about, plan.attributes)
        # A control member comes first, and is none of the ensemble.
        self._first = int(config.forecast.control)
        self._writer = BackgroundWriter(_WAITING)
        self._impaired = False
        self._shard: Shard | None = None
        self._cases: dict[str, dict[np.timedelta64, Case]] = {}
        self._recent: dict[np.timedelta64, dict[str, Frames]] = {}

    def is_finished(self, item: WorkItem) -> bool:
        """Whether the statistics are there, or nothing can be scored. Raises StoreError for those of other settings."""
        if not self._leads(item).size or self.given_up(item):
            return True
        return is_complete(self._path(item), self._identity)

    def given_up(self, item: WorkItem) -> tuple[FailedMember, ...]:
        """Those that kept the item from having statistics. Raises StoreError for a note of other settings."""
        path = self._note_path(item)
        if not path.exists():
            return ()
        note = json.loads(path.read_bytes())
        require_identity(path, note["identity"], self._identity)
        return tuple(FailedMember(**member) for member in note["members"])

    def begin(self, item: WorkItem) -> None:
        """Forget what there is of an item that was given up."""
        self._impaired = False
        self._writer.submit(lambda: self._forget(item))

    def write(self, item: WorkItem, lead: int, numbers: Sequence[int], ens_MCHW: Frames) -> None:
        """Hand over a lead time that is scored; waits while another one waits.

        Once a member was given up, nothing more of the item is scored.
        """
        self._impaired |= _lacks_members(ens_MCHW)
        if self._impaired:
            return
        lead_time = self._steps[lead]
        if lead_time in self._needed(item):
            chosen = ens_MCHW[:, self._columns]
            self._writer.submit(lambda: self._take(item, lead_time, numbers, chosen))

    def finish(self, item: WorkItem, failed: Sequence[FailedMember] = ()) -> None:
        """Write the statistics; an ensemble that lost a member has none, and a note instead."""
        if failed:
            self._writer.submit(lambda: self._give_up(item, failed))
        elif self._leads(item).size:
            self._writer.submit(lambda: self._write(item))

    def close(self) -> None:
        """Wait for the last statistics."""
        self._writer.close()

    def _leads(self, item: WorkItem) -> Leads:
        """Scored lead times."""
        if item.init_time not in self._sample.init_times:
            return self._sample.lead_times[:0]
        return self._scorer.offered(item.init_time, self._sample.leads_of(item.init_time))

    def _needed(self, item: WorkItem) -> Leads:
        """Lead times that are scored, or part of a sum that is."""
        leads = self._leads(item)
        parts = [part for name in self._scorer.names for part in parts_of(name, self._offered(name, item))]
        return np.unique(np.concatenate([leads, *parts]))

    def _offered(self, name: str, item: WorkItem) -> Leads:
        return self._scorer.system.offered(name, item.init_time, self._leads(item))

    def _path(self, item: WorkItem) -> Path:
        folder = RunPaths(self._plan.config.run.folder).scores
        return statistics_path(folder, self._scorer.system.name, item.init_time)

    def _note_path(self, item: WorkItem) -> Path:
        folder = RunPaths(self._plan.config.run.folder).scores
        return given_up_path(folder, self._scorer.system.name, item.init_time)

    # From here on in the thread that scores.

    def _forget(self, item: WorkItem) -> None:
        self._note_path(item).unlink(missing_ok=True)
        self._shard, self._cases, self._recent = None, {name: {} for name in self._scorer.names}, {}

    def _take(self, item: WorkItem, lead_time: np.timedelta64, numbers: Sequence[int], chosen_MCHW: Frames) -> None:
        place = int(np.flatnonzero(self._layout.lead_times == lead_time)[0])
        if self._shard is None:
            self._shard = Shard(self._layout, item.numbers, place)
        self._maker.fill(self._shard, place, numbers, chosen_MCHW)
        if self._shard.is_full:
            arrays, self._shard = dict(self._shard.take()), None
            self._score(item, lead_time, arrays)

    def _score(self, item: WorkItem, lead_time: np.timedelta64, arrays: dict[str, Frames]) -> None:
        self._remember(lead_time, arrays)
        for name, cases in self._cases.items():
            if lead_time not in self._offered(name, item):
                continue
            fields = [self._field(arrays, part) for part in components(name)]
            if name in SUMS_24H:
                leads = [lead[0] for lead in parts_of(name, np.array([lead_time]))]
                fields = [summed(name, (self._recent[lead][part] for lead in leads)) for part in components(name)]
            cases[lead_time] = self._scorer.case_of_components(name, item.init_time, lead_time, fields)

    def _remember(self, lead_time: np.timedelta64, arrays: dict[str, Frames]) -> None:
        """Keep what later sums are made of, no longer than they need it."""
        parts = {part for name in self._scorer.names if name in SUMS_24H for part in components(name)}
        oldest = lead_time - hours(24)
        self._recent = {lead: fields for lead, fields in self._recent.items() if lead > oldest}
        self._recent[lead_time] = {part: self._field(arrays, part) for part in parts}

    def _field(self, arrays: dict[str, Frames], name: str) -> Frames:
        """Members of one channel at the one lead time, [M, H, W], without the control member."""
        variable = next(v for v in self._layout.variables if name in {c.name for c in v.channels})
        array = arrays[variable.name][self._first :, 0]
        level = channel(name).level
        return np.ascontiguousarray(array if level is None else array[:, variable.levels.index(level)])

    def _give_up(self, item: WorkItem, failed: Sequence[FailedMember]) -> None:
        note = {"identity": self._identity, "members": [asdict(member) for member in failed]}
        write_atomic(self._note_path(item), json.dumps(note, indent=1).encode())
        log.warning("%s: no statistics, because %d members were given up", item, len(failed))

    def _write(self, item: WorkItem) -> None:
        statistics = self._scorer.joined(self._cases, item.init_time, self._leads(item))
        about = {**self._about, **attributes_of(self._plan.config, self._scorer, self._sample), **self._identity}
        write_statistics(self._path(item), statistics.assign_attrs(about))


def _lacks_members(ens_MCHW: Frames) -> bool:
    """Whether a member was given up: all its fields are NaN then, while others may only have gaps (see `Guard`)."""
    return bool(np.isnan(ens_MCHW[:, :, 0, 0]).all(axis=1).any())
