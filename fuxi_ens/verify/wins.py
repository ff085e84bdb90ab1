"""How often one system beats another: the headline "x of y" count of a scorecard."""

from dataclasses import dataclass
from typing import Final, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fuxi_ens.config import LowerIsBetter
from fuxi_ens.errors import UserError
from fuxi_ens.grid import Float

LOWER_IS_BETTER: Final = get_args(LowerIsBetter)


@dataclass(frozen=True, slots=True)
class Wins:
    """Counts over the combinations (name, lead_time) that both systems have."""

    better: int
    worse: int
    tie: int
    undefined: int
    """NaN in either system."""
    significantly_better: int = 0
    significantly_worse: int = 0
    tested: int = 0
    level: float = float("nan")
    """False discovery rate of the significant ones."""
    low: float = float("nan")
    """Between these lies the percentage better of a part 1 - level of the bootstrap draws of the init times."""
    high: float = float("nan")

    @property
    def total(self) -> int:
        """All combinations."""
        return self.better + self.worse + self.tie + self.undefined

    @property
    def percentage(self) -> float:
        """Of all combinations, better ones."""
        return 100 * self.better / self.total

    def __str__(self) -> str:
        counts = (
            f"better in {self.better} of {self.total} (name x lead_time), "
            f"{self.percentage:.2f} %, worse {self.worse}, "
            f"tie {self.tie}, NaN {self.undefined}"
        )
        return f"{counts}; {self.significance}" if self.tested else counts

    @property
    def significance(self) -> str:
        """What the tests say, in words."""
        if not self.tested:
            return "no combination could be tested"
        return (
            f"significantly better in {self.significantly_better}, worse in {self.significantly_worse} of "
            f"{self.tested} tested (false discovery rate {100 * self.level:g} %); {100 * (1 - self.level):g} % of "
            f"resamples are better in {self.low:.1f} to {self.high:.1f} %"
        )


def tally(difference: Float, significant: NDArray[np.bool_], tested: NDArray[np.bool_]) -> Wins:
    """Count differences of a score, [combination]; negative is better."""
    return Wins(
        better=int(np.sum(difference < 0)),
        worse=int(np.sum(difference > 0)),
        tie=int(np.sum(difference == 0)),
        undefined=int(np.sum(np.isnan(difference))),
        significantly_better=int(np.sum(significant & (difference < 0))),
        significantly_worse=int(np.sum(significant & (difference > 0))),
        tested=int(np.sum(tested)),
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

    The count knows no significance, which needs the series (`comparison.compare`). Raises UserError if the score
    has no better direction, if there is nothing to compare, or if the two differ in estimator, grid, weights, pairs,
    or in truth unless `own_analysis` says that each is verified against its own analysis on purpose.
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
    none = np.zeros(difference.shape, dtype=bool)
    return tally(difference, none, none)


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
