"""Selections from the tidy score table: curves and percent differences, with the roles of the systems."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pandas as pd

from fuxi_ens.errors import UserError
from fuxi_ens.plot.style import ROLE_STYLES, LineStyle
from fuxi_ens.times import Leads
from fuxi_ens.verify.scorecard import COLUMNS
from fuxi_ens.verify.wins import Wins

CRPS: Final = "crps"
RMSE: Final = "rmse"
SPREAD: Final = "spread"
SPREAD_SKILL_RATIO: Final = "spread_skill_ratio"
CRPSS: Final = "crpss_climatology"
CRPS_DIFFERENCE: Final = "crps_difference"


@dataclass(frozen=True, slots=True)
class Systems:
    """Which system of the table plays which role; None or absence from the table leaves the role empty."""

    forecast: str
    baseline: str | None = None
    climatology: str | None = "climatology"
    persistence: str | None = "persistence"

    def roles(self) -> dict[str, str]:
        """Role to system, our forecast first, empty roles left out."""
        roles = {
            "forecast": self.forecast,
            "baseline": self.baseline,
            "climatology": self.climatology,
            "persistence": self.persistence,
        }
        return {role: system for role, system in roles.items() if system}


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of one region. Raises UserError when the table cannot be drawn at all."""

    table: pd.DataFrame
    systems: Systems
    region: str = "global"
    wins: Mapping[str, Wins] = field(default_factory=dict)
    """Counts of our CRPS against each reference, of verification; empty for a table without tests."""

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
        object.__setattr__(self, "table", here)

    @property
    def present(self) -> dict[str, str]:
        """Role to system for the systems the table really holds."""
        held = self.table["system"].unique()
        return {role: system for role, system in self.systems.roles().items() if system in held}

    @property
    def references(self) -> tuple[str, ...]:
        """Systems our forecast can be compared with: baseline, climatology, persistence."""
        return tuple(system for role, system in self.present.items() if role != "forecast")

    def holding(self, score: str) -> tuple[str, ...]:
        """Systems the table has `score` of, our forecast first."""
        held = set(self.table.loc[self.table["score"] == score, "system"])
        return tuple(system for system in self.present.values() if system in held)

    @property
    def names(self) -> tuple[str, ...]:
        """Scored names in the order of the table."""
        return tuple(self.table.loc[self.table["system"] == self.systems.forecast, "name"].unique())

    @property
    def last_lead(self) -> np.timedelta64:
        """Longest lead time of our forecast."""
        ours = self.table[self.table["system"] == self.systems.forecast]
        return np.timedelta64(ours["lead_time"].max().to_timedelta64())

    def style(self, system: str) -> LineStyle:
        """Line style of a system, from its role."""
        return ROLE_STYLES[next(role for role, held in self.present.items() if held == system)]

    def curve(self, system: str, name: str, score: str) -> pd.Series:
        """Value by lead time, sorted, NaN dropped; empty when the table has none."""
        rows = self.table[
            (self.table["system"] == system) & (self.table["name"] == name) & (self.table["score"] == score)
        ]
        series = rows.set_index("lead_time")["value"].dropna().sort_index()
        if series.index.has_duplicates:
            raise UserError(f"score table holds {score} of {name} for {system} twice at one lead time")
        return series

    def difference(self, reference: str) -> pd.DataFrame:
        """CRPS of our forecast against a reference in percent, [name, lead_time]; negative is better.

        Lead times are those both have. The table guarantees that both rest on the same init times there.
        """
        rows = {name: self._ratio(reference, name) for name in self.names}
        return pd.DataFrame(rows).sort_index().T

    def significant(self, reference: str) -> pd.DataFrame | None:
        """Which differences of CRPS are significant, with the cells of `difference`; None if the table has no tests."""
        if "reference" not in self.table.columns:
            return None
        rows = self.table[(self.table["score"] == CRPS_DIFFERENCE) & (self.table["reference"] == reference)]
        rows = rows[rows["system"] == self.systems.forecast]
        if rows.empty:
            return None
        flags = rows.pivot(index="name", columns="lead_time", values="significant")
        cells = self.difference(reference)
        return flags.reindex(index=cells.index, columns=cells.columns).eq(other=True)

    def _ratio(self, reference: str, name: str) -> pd.Series:
        ours = self.curve(self.systems.forecast, name, CRPS)
        theirs = self.curve(reference, name, CRPS)
        return (100.0 * (ours / theirs - 1.0)).dropna()


def readable_leads(lead_times: Leads, most: int = 20) -> Leads:
    """At most `most` lead times to label: all of them, else whole days, else every n-th day."""
    leads = np.sort(lead_times)
    if len(leads) <= most:
        return leads
    daily = leads[leads % np.timedelta64(1, "D") == np.timedelta64(0)]
    chosen = daily if len(daily) else leads
    return chosen[:: -(-len(chosen) // most)]
