"""Differences of track errors between forecast and baseline, with whole storms as the sample.

Errors of one storm at neighboring init times and lead times depend on each other, so that the bootstrap draws storms
with all their cases (events.md 1).
"""

from typing import Final

import numpy as np
import pandas as pd

from fuxi_ens.config import CycloneConfig, SignificanceConfig
from fuxi_ens.grid import Float
from fuxi_ens.verify.cyclones.scores import CASE, homogeneous

SCORES: Final = ("member_error", "mean_error")
FEWEST_STORMS: Final = 5
"""Of fewer there is no interval."""
_SEED: Final = 0


def storm_differences(cases: pd.DataFrame, rules: CycloneConfig, settings: SignificanceConfig) -> pd.DataFrame:
    """One row per score and lead time: forecast minus baseline, km, over the cases that both follow.

    Negative is better. `ci_low` and `ci_high` are quantiles of means of resampled storms, of coverage 1 -
    `settings.level`; `p` is two-sided, of mean 0. They are NaN for few storms. Without any case there is no row.
    """
    sample = homogeneous(cases, rules)
    rows = []
    for score in SCORES:
        by_role = sample.pivot_table(index=CASE, columns="role", values=score)
        errors = by_role.reindex(columns=["forecast", "baseline"]).dropna()
        difference = (errors["forecast"] - errors["baseline"]).rename("value").reset_index()
        for lead, part in difference.groupby("lead_hours"):
            by_storm = part.groupby("storm")["value"].agg(["sum", "count"])
            mean = float(part["value"].mean())
            about = {"score": f"{score}_km", "lead_hours": lead, "cases": len(part), "storms": len(by_storm)}
            low, high, p = _bootstrap(by_storm.to_numpy(dtype=np.float64), mean, settings)
            rows.append({**about, "difference": mean, "ci_low": low, "ci_high": high, "p": p})
    return pd.DataFrame(rows)


def _bootstrap(by_storm: Float, mean: float, settings: SignificanceConfig) -> tuple[float, float, float]:
    """Interval and p-value from sums and counts of each storm, [storm, 2]."""
    storms = len(by_storm)
    if storms < FEWEST_STORMS:
        return np.nan, np.nan, np.nan
    rng = np.random.default_rng(_SEED)
    drawn = rng.multinomial(storms, np.full(storms, 1 / storms), size=settings.resamples)
    # Not BLAS, whose sums depend on the number of threads.
    sums, counts = np.einsum("bs,sk->kb", drawn, by_storm, optimize=False)
    means = sums / counts
    low, high = np.quantile(means, [settings.level / 2, 1 - settings.level / 2])
    beyond = int((abs(means - mean) >= abs(mean)).sum())
    return float(low), float(high), (beyond + 1) / (len(means) + 1)
