"""Differences of our scores from those of the other systems: size, confidence, significance, and counts of wins.

A difference is tested by its series over init times. The table has one row per pair of systems, score and cell (name,
region, lead_time); it goes below the rows of `scorecard.scorecard`, with the score called `crps_difference`.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pandas as pd
import xarray as xr

from fuxi_ens.config import LowerIsBetter, SignificanceConfig
from fuxi_ens.grid import Float
from fuxi_ens.times import Times, hours
from fuxi_ens.verify import significance
from fuxi_ens.verify.pooling import crps_sums, estimator, pooled_mean
from fuxi_ens.verify.scorecard import COLUMNS, same_pairs
from fuxi_ens.verify.wins import Wins, tally

logger = logging.getLogger(__name__)

CELL: Final = ("region", "name", "lead_time")
TEST_COLUMNS: Final = (
    "reference",
    "ci_low",
    "ci_high",
    "p_ar2",
    "p_hac",
    "p_bootstrap",
    "q",
    "significant",
    "n_effective",
    "untested",
)
"""What rows of differences have beside `scorecard.COLUMNS`."""
_SEED: Final = 0


@dataclass(frozen=True, slots=True)
class Versus:
    """One comparison that is counted."""

    system: str
    reference: str
    score: LowerIsBetter
    region: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """All differences and their counts."""

    table: pd.DataFrame
    """Columns `scorecard.COLUMNS` and `TEST_COLUMNS`"""
    wins: Mapping[Versus, Wins]

    def below(self, scores: pd.DataFrame) -> pd.DataFrame:
        """One table: the rows of `scorecard.scorecard`, then the differences."""
        return pd.concat([scores, self.table], ignore_index=True) if len(self.table) else scores

    def counts(self) -> pd.DataFrame:
        """The counts as a table, one row per comparison."""
        rows = [
            {
                **{field: getattr(versus, field) for field in Versus.__slots__},
                "total": won.total,
                "percentage": won.percentage,
                **{field: getattr(won, field) for field in Wins.__slots__},
            }
            for versus, won in self.wins.items()
        ]
        return pd.DataFrame(rows)


def difference_score(score: str) -> str:
    """Name of a difference in the column `score`."""
    return f"{score}_difference"


def compare(statistics: Mapping[str, xr.Dataset], settings: SignificanceConfig) -> Comparison:
    """Compare each forecast with every other system, on the pairs that `scorecard.scorecard` scores.

    `value` is our score minus the reference's, in file units: negative is better. `ci_low`, `ci_high` and `p_ar2` are
    of the AR(2) t-test, `p_hac` of the check by cosines, `p_bootstrap` of the stationary bootstrap. `q` is the larger
    of the first two after Benjamini-Hochberg over the card, which is one comparison in one region; `significant` is
    q <= `settings.level`. `untested` says why a cell has no test. Raises StoreError for systems of different masks.
    """
    systems = same_pairs(statistics)
    tables, wins = [], {}
    for system, reference in _pairs(systems):
        for score in settings.scores:
            cells, means = _test_cells(systems[system], systems[reference], score, settings)
            if cells.empty:
                continue
            _report_untested(cells, f"{score} of {system} against {reference}")
            tables.append(_described(cells, systems, system, reference, score))
            for region, part in cells.groupby("region", sort=False):
                drawn = means[:, cells["region"].to_numpy() == region]
                wins[Versus(system, reference, score, str(region))] = _count(part, drawn, settings)
    columns = [*COLUMNS, *TEST_COLUMNS]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
    return Comparison(table[columns], wins)


def _pairs(systems: Mapping[str, xr.Dataset]) -> Iterator[tuple[str, str]]:
    for system, data in systems.items():
        if data.attrs["role"] == "forecast":
            yield from ((system, reference) for reference in systems if reference != system)


def _linearized(data: xr.Dataset, score: LowerIsBetter) -> tuple[xr.DataArray, xr.DataArray]:
    """A score and the deviations that init times contribute to it, [init_time, ...] of mean 0.

    The first order of the delta method: exact for averages of equal weights, where score + deviation is the score of
    one init time; for a ratio of sums and a root, what their variance rests on.
    """
    weight = data["weight"]
    statistic = {
        "crps": crps_sums(data),
        "mae": data["absolute_error_of_mean"],
        "rmse": data["squared_error_of_mean"],
    }[score]
    mean = pooled_mean(statistic, weight)
    deviation = (statistic - mean * weight) / weight.mean("init_time")
    if score != "rmse":
        return mean, deviation
    root = xr.ufuncs.sqrt(mean)
    return root, deviation / (2 * root.where(root > 0))


def _test_cells(
    ours: xr.Dataset, theirs: xr.Dataset, score: LowerIsBetter, settings: SignificanceConfig
) -> tuple[pd.DataFrame, Float]:
    """Cells where both have pairs, with difference and tests, and their resampled means, [resample, cell]."""
    (our_score, our_series), (their_score, their_series) = (_linearized(data, score) for data in (ours, theirs))
    paired = ours["weight"].notnull() & theirs["weight"].notnull()
    columns = {"value": our_score - their_score, "n_init": paired.sum("init_time")}
    frame = xr.Dataset(columns).to_dataframe(list(CELL)).reset_index()
    scored = frame["n_init"].to_numpy() > 0
    series = (our_score - their_score + our_series - their_series).transpose("init_time", *CELL)
    series = series[paired.any(CELL).to_numpy()]
    values = series.to_numpy().reshape(len(series), -1)[:, scored]
    cells = frame[scored].reset_index(drop=True)
    return _tested(cells, values, series["init_time"].to_numpy(), settings)


def _tested(
    cells: pd.DataFrame, series: Float, init_times: Times, settings: SignificanceConfig
) -> tuple[pd.DataFrame, Float]:
    """Add the tests of `series` [init_time, cell] to `cells`."""
    value = cells["value"].to_numpy()
    positions = significance.regular_positions(init_times)
    reasons = {
        f"fewer than {settings.min_init_times} init times": cells["n_init"].to_numpy() < settings.min_init_times,
        "init times without a regular step": np.full(value.shape, positions is None),
        "no number": np.isnan(value),
        "differences that do not vary": ~significance.varies(series),
    }
    able = np.where(np.any(list(reasons.values()), axis=0), np.nan, series)
    first = significance.ar2_test(able, np.arange(len(able)) if positions is None else positions)
    check = significance.ewc_test(able)
    low, high = first.interval(value, settings.level)
    drawn = significance.resample(len(able), significance.block_length(able), settings.resamples, _SEED)
    means = significance.resampled_means(able, drawn)
    # The larger one, because a difference is significant only if both tests say so.
    p = np.maximum(first.p, check.p)
    q = np.full(p.shape, np.nan)
    for region in cells["region"].unique():
        card = cells["region"].to_numpy() == region
        q[card] = significance.false_discovery(p[card])
    tests = {
        "ci_low": low,
        "ci_high": high,
        "p_ar2": first.p,
        "p_hac": check.p,
        "p_bootstrap": np.where(np.isnan(p), np.nan, significance.bootstrap_p(means, value)),
        "q": q,
        "significant": q <= settings.level,
        "n_effective": first.effective,
        "untested": np.where(
            np.isnan(p), np.select(list(reasons.values()), list(reasons), "no estimate of their correlation"), ""
        ),
    }
    return cells.assign(**tests), means


def _report_untested(cells: pd.DataFrame, what: str) -> None:
    reasons = cells.loc[cells["untested"] != "", "untested"].value_counts()
    if len(reasons):
        counted = ", ".join(f"{reason} ({count})" for reason, count in reasons.items())
        logger.warning("%s: no test for %d of %d cells: %s", what, reasons.sum(), len(cells), counted)


def _count(cells: pd.DataFrame, means: Float, settings: SignificanceConfig) -> Wins:
    """Count the cells of one card that the settings list; what the list has and the card has not is undefined."""
    chosen = np.ones(len(cells), dtype=bool)
    names, leads = cells["name"].unique(), cells["lead_time"].unique()
    listed = len(names), len(leads)
    if settings.counted_channels:
        chosen &= cells["name"].isin(settings.counted_channels).to_numpy()
        listed = len(settings.counted_channels), listed[1]
    if settings.counted_lead_hours:
        chosen &= cells["lead_time"].isin([hours(count) for count in settings.counted_lead_hours]).to_numpy()
        listed = listed[0], len(settings.counted_lead_hours)
    part = cells[chosen]
    won = tally(part["value"].to_numpy(), part["significant"].to_numpy(), (part["untested"] == "").to_numpy())
    absent = listed[0] * listed[1] - len(part)
    won = replace(won, undefined=won.undefined + absent, level=settings.level)
    if not won.tested:
        return won
    better = 100 * (means[:, chosen] < 0).sum(axis=1) / won.total
    low, high = np.quantile(better, [settings.level / 2, 1 - settings.level / 2])
    return replace(won, low=float(low), high=float(high))


def _described(
    cells: pd.DataFrame, systems: Mapping[str, xr.Dataset], system: str, reference: str, score: LowerIsBetter
) -> pd.DataFrame:
    """Fill the columns that say what was compared with what."""
    both = systems[system], systems[reference]

    def of_both(texts: list[str]) -> str:
        return texts[0] if texts[0] == texts[1] else f"{texts[0]}; {reference} {texts[1]}"

    return cells.assign(
        system=system,
        reference=reference,
        score=difference_score(score),
        estimator=of_both([estimator(data) for data in both]) if score == "crps" else "",
        members=int(both[0]["members"].min()),
        truth=of_both([str(data.attrs["truth"]) for data in both]),
        weights=both[0].attrs["weights"],
        grid=both[0].attrs["grid"],
    )
