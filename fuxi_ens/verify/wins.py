"""How often one system beats another: the headline "x of y" count of a scorecard."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from fuxi_ens.errors import UserError

LOWER_IS_BETTER: Final = ("crps", "rmse", "mae")


@dataclass(frozen=True, slots=True)
class Wins:
    """Counts over the combinations (name, lead_time) that both systems have."""

    better: int
    worse: int
    tie: int
    undefined: int
    """NaN in either system."""

    @property
    def total(self) -> int:
        """All combinations."""
        return self.better + self.worse + self.tie + self.undefined

    def __str__(self) -> str:
        return (
            f"better in {self.better} of {self.total} (name x lead_time), "
            f"{100 * self.better / self.total:.2f} %, worse {self.worse}, "
            f"tie {self.tie}, NaN {self.undefined}"
        )


def count_wins(
    table: pd.DataFrame,
    system: str,
    baseline: str,
    score: str = "crps",
    region: str = "global",
    own_analysis: bool = False,
) -> Wins:
    """Count where `system` is strictly lower than `baseline` in one region of a `scorecard` table.

    The count ignores significance. Raises UserError if the score has no better direction, if there is nothing
    to compare, or if the two differ in estimator, grid, weights, pairs, or in truth unless `own_analysis`
    says that each is verified against its own analysis on purpose.
    """
    if score not in LOWER_IS_BETTER:
        raise UserError(f"cannot count wins in {score!r}: choose one of {LOWER_IS_BETTER}")
    part = table[(table["score"] == score) & (table["region"] == region)]
    keys = ["name", "lead_time"]
    ours, theirs = (part[part["system"] == name].set_index(keys) for name in (system, baseline))
    shared = ours.index.intersection(theirs.index)
    if shared.empty:
        raise UserError(
            f"{system} and {baseline} share no (name, lead_time) of {score} in region {region}; "
            f"the table has the systems {sorted(table['system'].unique())}"
        )
    ours, theirs = ours.loc[shared], theirs.loc[shared]
    _refuse_unlike(ours, theirs, system, baseline, own_analysis)
    difference = ours["value"].to_numpy() - theirs["value"].to_numpy()
    return Wins(
        better=int(np.sum(difference < 0)),
        worse=int(np.sum(difference > 0)),
        tie=int(np.sum(difference == 0)),
        undefined=int(np.sum(np.isnan(difference))),
    )


def _refuse_unlike(ours: pd.DataFrame, theirs: pd.DataFrame, system: str, baseline: str, own_analysis: bool) -> None:
    remedies = {
        "estimator": "verify both with one verify.estimator (a single member has the standard one only)",
        "grid": "regrid one store",
        "weights": "verify both with one version of fuxi_ens",
        "n_init": "make the table from both systems' statistics together",
        "truth": "use one truth for both, or pass own_analysis=True to say that this is meant",
    }
    for column, remedy in remedies.items():
        unlike = ours[column].to_numpy() != theirs[column].to_numpy()
        if unlike.any() and not (column == "truth" and own_analysis):
            example = ours[column].to_numpy()[unlike][0], theirs[column].to_numpy()[unlike][0]
            raise UserError(f"{system} and {baseline} differ in {column}, {example[0]} and {example[1]}: {remedy}")
