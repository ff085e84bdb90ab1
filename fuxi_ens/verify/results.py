"""All that is made of the statistics of a run, for tables and pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import xarray as xr

from fuxi_ens.config import SignificanceConfig
from fuxi_ens.verify.comparison import Comparison, compare
from fuxi_ens.verify.difference_maps import difference_maps
from fuxi_ens.verify.files import read_statistics
from fuxi_ens.verify.scorecard import scorecard


@dataclass(frozen=True, slots=True)
class Results:
    """Of all systems below some folders."""

    statistics: Mapping[str, xr.Dataset]
    """Of `files.read_statistics`, by system"""
    comparison: Comparison
    table: pd.DataFrame
    """The scores, and the differences below them"""
    maps: Mapping[tuple[str, str], xr.Dataset]
    """Of `difference_maps.difference_maps`, by our system and the reference; empty without the family `maps`"""


def read_results(folders: Sequence[Path], settings: SignificanceConfig) -> Results:
    """Read the statistics below `folders` and make everything of them. Raises what its parts raise."""
    statistics = read_statistics(folders)
    comparison = compare(statistics, settings)
    table = comparison.below(scorecard(statistics))
    return Results(statistics, comparison, table, difference_maps(folders, statistics, settings))
