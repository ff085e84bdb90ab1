"""Invented tables of scores in several regions, with differences and their tests, for the cards and the page."""

import numpy as np
import pandas as pd

REGIONS = ("global", "tropics")


def several_regions(table: pd.DataFrame) -> pd.DataFrame:
    """The table for `REGIONS`; in the tropics our forecast is 7 % worse than in the globe."""
    parts = []
    for region in REGIONS:
        part = table.assign(region=region)
        if region == "tropics":
            ours = (part["system"] == "fuxi_ens") & part["score"].isin(["crps", "rmse"])
            part["value"] = part["value"].where(~ours, 1.07 * part["value"])
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def differences(table: pd.DataFrame, reference: str, score: str = "crps") -> pd.DataFrame:
    """Rows as of `verify.comparison`: 5 % of the reference's score is the half of every confidence interval."""
    keys = ["region", "name", "lead_time"]
    rows = table[table["score"] == score]
    ours, theirs = (rows[rows["system"] == system].set_index(keys) for system in ("fuxi_ens", reference))
    shared = ours.index.intersection(theirs.index)
    value = ours.loc[shared, "value"] - theirs.loc[shared, "value"]
    half = 0.05 * theirs.loc[shared, "value"]
    tests = {
        "score": f"{score}_difference",
        "value": value,
        "reference": reference,
        "ci_low": value - half,
        "ci_high": value + half,
        "q": np.exp(-2.0 * (value / half).abs()),
        "significant": value.abs() > half,
        "untested": "",
    }
    return ours.loc[shared].assign(**tests).reset_index()


def table_with_tests(table: pd.DataFrame) -> pd.DataFrame:
    """Scores of several regions, and below them the tested differences of CRPS and RMSE from two references."""
    scores = several_regions(table)
    below = [
        differences(scores, reference, score)
        for reference in ("physics_ensemble", "climatology")
        for score in ("crps", "rmse")
    ]
    return pd.concat([scores, *below], ignore_index=True)


def counts_of(table: pd.DataFrame) -> pd.DataFrame:
    """Counts as `Comparison.counts` gives them, of all differences of the table."""
    rows = table[table["score"].str.endswith("_difference")]
    made = []
    for (region, reference, score), part in rows.groupby(["region", "reference", "score"], sort=False):
        better, significant = part["value"] < 0, part["significant"].astype(bool)
        made.append(
            {
                "system": "fuxi_ens",
                "reference": reference,
                "score": score.removesuffix("_difference"),
                "region": region,
                "better": better.sum(),
                "worse": (~better).sum(),
                "tie": 0,
                "undefined": 0,
                "total": len(part),
                "significantly_better": (significant & better).sum(),
                "significantly_worse": (significant & ~better).sum(),
                "tested": len(part),
                "low": 71.2,
                "high": 88.6,
            }
        )
    return pd.DataFrame(made)
