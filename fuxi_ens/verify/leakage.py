"""Whether a climatology has seen what is scored (verification.md 9)."""

import logging
import re
from typing import Final

import numpy as np
import pandas as pd

from fuxi_ens.errors import StoreError
from fuxi_ens.stores.climatology import ClimatologyStore
from fuxi_ens.times import Times, label

logger = logging.getLogger(__name__)

_YEARS: Final = re.compile(r"(?<!\d)((?:18|19|20)\d\d)-((?:18|19|20)\d\d)(?!\d)")


def averaged_periods(store: ClimatologyStore) -> list[tuple[pd.Timestamp, pd.Timestamp]]:
    """First and last time of each period that a climatology averages; empty if it does not say.

    Our stores say it in the attribute `periods`, WeatherBench 2's in their names: 1990-2017_6h_64x32.zarr.
    """
    written = str(store.dataset.attrs.get("periods", ""))
    if written:
        pairs = [period.split("..") for period in written.split(", ")]
        return [(pd.Timestamp(start), pd.Timestamp(end)) for start, end in pairs]
    years = _YEARS.findall(store.source.rstrip("/").rpartition("/")[2])
    return [(pd.Timestamp(f"{first}-01-01"), pd.Timestamp(f"{last}-12-31T23:59:59")) for first, last in years]


def refuse_seen(store: ClimatologyStore, valid_times: Times, forced: bool) -> str:
    """Return a caveat, empty if no scored time is in the climatology.

    Thresholds and anomalies from a climatology that holds the scored dates flatter all systems, and not equally.
    Raises StoreError if that is so, or cannot be known, unless `forced`; then the caveat is logged too.
    """
    periods = averaged_periods(store)
    times = pd.DatetimeIndex(np.unique(valid_times))
    seen = np.logical_or.reduce([(times >= start) & (times <= end) for start, end in periods], initial=False)
    if periods and not np.any(seen):
        return ""
    what = (
        f"the climatology {store.source} holds {label(times[np.broadcast_to(seen, times.shape)][0].to_numpy())} and "
        f"{int(np.sum(seen)) - 1} other scored times"
        if periods
        else f"the climatology {store.source} does not say which years it averages"
    )
    if not forced:
        raise StoreError(
            f"{what}; name one of other years in verify.day_climatology, or set verify.allow_seen_climatology to true "
            "to score against it all the same"
        )
    logger.warning("%s", what)
    return what
