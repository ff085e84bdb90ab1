"""What SEEPS knows of a climate: how often it is dry, and from which amount the wet third of the wet cases begins."""

from typing import Final

import numpy as np

from fuxi_ens.data.climatology.quantile import quantiles
from fuxi_ens.data.climatology.window import Fields, Values, share

_LIGHT: Final = np.array([2 / 3])
"""Share of the wet cases that are light (Rodwell et al. 2010)."""


def categories(samples: Fields, weights: Values, dry_amount: float) -> tuple[Fields, Fields]:
    """Share of dry cases and amount from which a case is heavy, around each day of the year, [366, point].

    `samples` are amounts [366, year, point], NaN for none; dry is up to `dry_amount`, in the same units. The heavy
    amount is the weighted quantile of the wet cases alone, NaN where there is none.
    """
    known = ~np.isnan(samples)
    dry = known & (samples <= dry_amount)
    heavy = quantiles(np.where(known & ~dry, samples, np.float32(np.nan)), weights, _LIGHT)[0]
    return share(dry.sum(axis=1), known.sum(axis=1), weights), heavy
