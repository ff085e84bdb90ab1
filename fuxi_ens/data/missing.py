"""Which fields may lack values: only those of a variable that says so, and never all of their points."""

import numpy as np
from numpy.typing import NDArray

from fuxi_ens.channels import channel
from fuxi_ens.errors import StoreError
from fuxi_ens.times import label


def require_values(field: NDArray[np.float32], name: str, time: np.datetime64, source: str) -> None:
    """Raise StoreError if `field`, [latitude, longitude] of channel `name`, lacks values that it must have."""
    # The sum of a field is NaN if one of its points is; much cheaper than a mask of all points.
    if np.isfinite(np.sum(field)):
        return
    finite, variable = np.isfinite(field), channel(name).variable
    if finite.all() or (variable.may_be_missing and finite.any()):
        return
    raise StoreError(
        f"{source}: {name} ({variable.file_name}) has missing values in {np.count_nonzero(~finite)} of {finite.size} "
        f"points at {label(time)}, or its chunk is absent; mend the store, or leave the time out with data.skip_list "
        f"(`fuxi-ens data audit {source} --skip-list FILE`)"
    )
