"""Which (init_time, lead_time) pairs are scored: the same ones for all systems (verification.md 2.4).

A pair counts if every system has the init_time and the truths hold its valid_time. The lead times are those
of the forecast; another system that has only some of them is scored at those, and the scorecard compares where
both are.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fuxi_ens.errors import StoreError
from fuxi_ens.times import Leads, Times
from fuxi_ens.verify.open import AnalysisStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """The scored pairs."""

    init_times: Times
    """[init_time]"""
    lead_times: Leads
    """[lead_time], positive, increasing"""
    scored: NDArray[np.bool_]
    """[init_time, lead_time]"""

    def leads_of(self, init_time: np.datetime64) -> Leads:
        """Scored lead times of one forecast."""
        row = int(np.flatnonzero(self.init_times == init_time)[0])
        leads: Leads = self.lead_times[self.scored[row]]
        return leads

    @property
    def valid_times(self) -> Times:
        """All verified times, sorted, unique."""
        return np.unique((self.init_times[:, None] + self.lead_times)[self.scored])


class Offer(Protocol):
    """What a forecast has."""

    @property
    def source(self) -> str:
        """Store, for messages."""

    @property
    def init_times(self) -> Times:
        """Initial times, [init_time]."""

    @property
    def lead_times(self) -> Leads:
        """Distances from them, [lead_time]."""


def common_sample(
    asked: Times, forecast: Offer, references: Sequence[Offer], truths: Sequence[AnalysisStore]
) -> Sample:
    """Pairs that all systems and truths have, of the init times `asked`; logs what is dropped.

    Truths must also hold the init_time itself, for persistence. Raises StoreError if nothing is left, or if
    a reference shares no lead time with the forecast.
    """
    leads = np.unique(forecast.lead_times[forecast.lead_times > np.timedelta64(0)])
    for reference in references:
        if not np.isin(reference.lead_times, leads).any():
            raise StoreError(
                f"{reference.source} and {forecast.source} have no lead time in common: {reference.lead_times} and "
                f"{leads}"
            )
    known = np.logical_and.reduce([np.isin(asked, store.init_times) for store in (forecast, *references)])
    init_times = np.unique(asked[known])
    scored = np.logical_and.reduce(
        [
            np.isin(init_times, truth.valid_times)[:, None] & np.isin(init_times[:, None] + leads, truth.valid_times)
            for truth in truths
        ]
    )
    logger.info(
        "scoring %d pairs (init_time, lead_time); dropped %d of %d init times absent from a system, "
        "%d of %d pairs absent from the truth",
        scored.sum(),
        len(asked) - len(init_times),
        len(asked),
        scored.size - scored.sum(),
        scored.size,
    )
    if not scored.any():
        raise StoreError(
            f"nothing to score: of {len(asked)} init times {asked[0]}..{asked[-1]}, {len(init_times)} are in "
            f"all of {[store.source for store in (forecast, *references)]}, and none has its valid times in "
            f"{[truth.source for truth in truths]}; move forecast.init_times or extend the stores"
        )
    some = scored.any(axis=1)
    return Sample(init_times[some], leads, scored[some])
