"""Selections from the tidy score table: curves, percent differences and tests, with the roles of the systems."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import pandas as pd

from fuxi_ens.errors import UserError
from fuxi_ens.plot.style import LineStyle, role_style
from fuxi_ens.times import Leads
from fuxi_ens.verify.comparison import difference_score
from fuxi_ens.verify.scorecard import COLUMNS
from fuxi_ens.verify.wins import Wins

CRPS: Final = "crps"
RMSE: Final = "rmse"
SPREAD: Final = "spread"
SPREAD_SKILL_RATIO: Final = "spread_skill_ratio"
CRPSS: Final = "crpss_climatology"
_CELL_COLUMNS: Final = ("ci_low", "ci_high", "q", "significant", "untested")


@dataclass(frozen=True, slots=True)
class Systems:
    """Which system of the table plays which role; None or absence from the table leaves the role empty."""

    forecast: str
    baseline: str | None = None
    climatology: str | None = "climatology"
    persistence: str | None = "persistence"
    others: tuple[str, ...] = ()
    """Further systems, each with a role of its own: `other 1`, `other 2`."""

    def roles(self) -> dict[str, str]:
        """Role to system, our forecast first, empty roles left out."""
        roles = {
            "forecast": self.forecast,
            "baseline": self.baseline,
            "climatology": self.climatology,
            "persistence": self.persistence,
        } | {f"other {number}": system for number, system in enumerate(self.others, 1)}
        return {role: system for role, system in roles.items() if system}


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of one region. Raises UserError when the table cannot be drawn at all."""

    table: pd.DataFrame
    """All regions: the table of `verify.scorecard.scorecard`, with or without that of `verify.comparison.compare`."""
    systems: Systems
    region: str = "global"
    wins: Mapping[str, Wins] = field(default_factory=dict)
    """Counts of our CRPS against each reference, of verification; empty for a table without tests."""
    here: pd.DataFrame = field(init=False, repr=False)
    """The rows of `region`."""

    def __post_init__(self) -> None:
        missing = [column for column in COLUMNS if column not in self.table.columns]
        if missing:
            raise UserError(f"score table lacks columns {missing}; expected {list(COLUMNS)}")
        here = self.table[self.table["region"] == self.region]
        if not (here["system"] == self.systems.forecast).any():
            raise UserError(
                f"score table holds no {self.systems.forecast!r} in region {self.region!r}; it has systems "
                f"{sorted(self.table['system'].unique())} and regions {sorted(self.table['region'].unique())}"
            )
        object.__setattr__(self, "here", here)

    def within(self, region: str) -> "Scores":
        """The same table in another region; the counts are of this one and do not go along."""
        return replace(self, region=region, wins={})

    @property
    def regions(self) -> tuple[str, ...]:
        """Regions in which our forecast is scored, in the order of the table."""
        return tuple(self.table.loc[self.table["system"] == self.systems.forecast, "region"].unique())

    @property
    def present(self) -> dict[str, str]:
        """Role to system for the systems the table really holds."""
        held = self.here["system"].unique()
        return {role: system for role, system in self.systems.roles().items() if system in held}

    @property
    def references(self) -> tuple[str, ...]:
        """Systems our forecast can be compared with: baseline, climatology, persistence, others."""
        return tuple(system for role, system in self.present.items() if role != "forecast")

    def holding(self, score: str) -> tuple[str, ...]:
        """Systems the table has `score` of, our forecast first."""
        held = set(self.here.loc[self.here["score"] == score, "system"])
        return tuple(system for system in self.present.values() if system in held)

    @property
    def names(self) -> tuple[str, ...]:
        """Scored names in the order of the table."""
        return tuple(self.here.loc[self.here["system"] == self.systems.forecast, "name"].unique())

    @property
    def last_lead(self) -> np.timedelta64:
        """Longest lead time of our forecast."""
        ours = self.here[self.here["system"] == self.systems.forecast]
        return np.timedelta64(ours["lead_time"].max().to_timedelta64())

    def style(self, system: str) -> LineStyle:
        """Line style of a system, from its role."""
        return role_style(next(role for role, held in self.present.items() if held == system))

    def curve(self, system: str, name: str, score: str) -> pd.Series:
        """Value by lead time, sorted, NaN dropped; empty when the table has none."""
        rows = self.here[(self.here["system"] == system) & (self.here["name"] == name) & (self.here["score"] == score)]
        series = rows.set_index("lead_time")["value"].dropna().sort_index()
        if series.index.has_duplicates:
            raise UserError(f"score table holds {score} of {name} for {system} twice at one lead time")
        return series

    def difference(self, reference: str, score: str = CRPS, system: str | None = None) -> pd.DataFrame:
        """A score of our forecast, or of `system`, against a reference in percent, [name, lead_time].

        Lead times are those both have. The table guarantees that both rest on the same init times there.
        """
        ours = system or self.systems.forecast
        rows = {name: self._ratio(ours, reference, name, score) for name in self.names}
        return pd.DataFrame(rows).sort_index().T

    def significant(self, reference: str) -> pd.DataFrame | None:
        """Which differences of CRPS are significant, with the cells of `difference`; None if the table has no tests."""
        tests = self.tests(reference)
        if tests is None:
            return None
        cells = self.difference(reference)
        return tests["significant"].unstack("lead_time").reindex_like(cells).eq(other=True)

    def tests(self, reference: str, score: str = CRPS) -> pd.DataFrame | None:
        """Tested differences of our forecast from a reference, by (name, lead_time); None if the table has none.

        Columns are `value` (ours minus theirs), `ci_low`, `ci_high`, `q`, `significant` and `untested`.
        """
        if "reference" not in self.here.columns:
            return None
        rows = self.here[(self.here["score"] == difference_score(score)) & (self.here["reference"] == reference)]
        rows = rows[rows["system"] == self.systems.forecast]
        if rows.empty:
            return None
        return rows.set_index(["name", "lead_time"]).reindex(columns=["value", *_CELL_COLUMNS])

    def tested_scores(self, reference: str) -> tuple[str, ...]:
        """Scores whose differences from a reference have tests, in the order of the table."""
        if "reference" not in self.here.columns:
            return ()
        rows = self.here[(self.here["reference"] == reference) & (self.here["system"] == self.systems.forecast)]
        held = set(rows["score"])
        return tuple(score for score in self.here["score"].unique() if difference_score(score) in held)

    def _ratio(self, system: str, reference: str, name: str, score: str) -> pd.Series:
        ours = self.curve(system, name, score)
        theirs = self.curve(reference, name, score)
        return (100.0 * (ours / theirs.where(theirs != 0) - 1.0)).dropna()


def readable_leads(lead_times: Leads, most: int = 20) -> Leads:
    """At most `most` lead times to label: all of them, else whole days, else every n-th day."""
    leads = np.sort(lead_times)
    if len(leads) <= most:
        return leads
    daily = leads[leads % np.timedelta64(1, "D") == np.timedelta64(0)]
    chosen = daily if len(daily) else leads
    return chosen[:: -(-len(chosen) // most)]
