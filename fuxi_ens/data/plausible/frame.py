"""Whether a frame looks like the Earth's atmosphere: units, orientation, order, judged by physics, not by labels.

Evidence must be strong: fields that say nothing (noise, an aquaplanet, a single level) give no finding. Thresholds
have margins on both sides of what ERA5, GFS, IFS and the nature run show; each is given where it is used.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fuxi_ens.data.plausible import balance, values
from fuxi_ens.data.plausible.finding import Finding, Scene
from fuxi_ens.data.plausible.static import static_fields
from fuxi_ens.errors import StoreError
from fuxi_ens.grid import LatLonGrid
from fuxi_ens.times import label

_LISTED = 5


def examine(
    frame: NDArray[np.float32],
    channels: tuple[str, ...],
    latitude: NDArray[np.floating],
    longitude: NDArray[np.floating],
    *,
    when: np.datetime64 | None = None,
    static: Mapping[str, NDArray[np.floating]] | None = None,
) -> tuple[Finding, ...]:
    """What is implausible about `frame`, [channel, latitude, longitude] in model units; north to south, eastward.

    `when`, the valid time, adds season and sun. `static` adds orography (m2 s-2) and land-sea mask by their names in
    `channels`. Missing points are left out. A regional grid skips what only holds for the globe.
    """
    scene = Scene.of(frame, channels, latitude, longitude)
    findings = [*values.values(scene), *values.columns(scene)]
    wrong = {name for finding in findings for name in finding.channels}
    findings += balance.temperature(scene.without(wrong), when)
    findings += balance.geostrophy(scene.without(wrong), when)
    findings += balance.sun(scene, when)
    findings += static_fields(scene, static or {})
    return tuple(findings)


def require_plausible(
    frame: NDArray[np.float32], channels: tuple[str, ...], grid: LatLonGrid, when: np.datetime64, source: str
) -> None:
    """Raise StoreError that lists what is implausible about one frame of `source`."""
    findings = examine(frame, channels, grid.latitude, grid.longitude, when=when)
    if findings:
        more = f" and {len(findings) - _LISTED} more" if len(findings) > _LISTED else ""
        raise StoreError(
            f"{source} at {label(when)} does not look like the atmosphere: "
            f"{'; '.join(map(str, findings[:_LISTED]))}{more}; mend the store or its labels "
            f"(`fuxi-ens data audit {source}` shows all)"
        )
