"""Where on the globe a forecast is better: mean differences of the CRPS per point, with their significance.

The tests are those of the scorecard (`significance`), on the series of each point; one map is one family of the false
discovery rate. Neighboring points depend on each other, which the procedure bears (Wilks 2016).
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fuxi_ens.config import SignificanceConfig
from fuxi_ens.grid import Float
from fuxi_ens.verify import significance
from fuxi_ens.verify.families.maps import COLUMNS, CRPS_MAP, LEAD, ROWS
from fuxi_ens.verify.files import read_parts
from fuxi_ens.verify.systems import ENSEMBLES

DIMS: Final = ("lead_time", "latitude", "longitude")
_CELLS: Final = 4096
"""Points that are tested at once, which bounds the memory."""
Series = dict[np.datetime64, NDArray[np.float32]]
"""Maps [lead_time, latitude, longitude] of one name by init_time."""


def difference_maps(
    folders: Iterable[Path], statistics: Mapping[str, xr.Dataset], settings: SignificanceConfig
) -> dict[tuple[str, str], xr.Dataset]:
    """Maps for each pair of a forecast and another ensemble, by their names; none without the family `maps`.

    Datasets [name, lead_time, latitude, longitude]: `difference`, the mean of our CRPS minus theirs over the init times
    that both have, and `reference`, the mean of theirs, in file units; `significant` at `settings.level`. `init_times`
    and `tested`, whether they were enough for a test, are [name, lead_time]. Points without truth are NaN, and not
    significant. One name is in memory at a time.
    """
    folders = list(folders)
    pairs = [
        (ours, theirs)
        for ours, data in statistics.items()
        for theirs, other in statistics.items()
        if data.attrs["role"] == "forecast" and other.attrs["role"] in ENSEMBLES - {"forecast"}
    ]
    result = {}
    for ours, theirs in pairs:
        names = statistics[ours]["name"].to_numpy()
        shared = [name for name in names if name in statistics[theirs]["name"].to_numpy()]
        parts = [_of_name(folders, name, (ours, theirs), settings) for name in shared]
        maps = [part for part in parts if part is not None]
        if maps:
            about = {"system": ours, "reference": theirs, "level": settings.level}
            result[ours, theirs] = xr.concat(maps, "name").assign_attrs(about)
    return result


def _of_name(
    folders: list[Path], name: str, systems: tuple[str, str], settings: SignificanceConfig
) -> xr.Dataset | None:
    """None where they have no lead time in common, or no maps."""
    found = [list(read_parts(folders, CRPS_MAP, system, {"name": name})) for system in systems]
    if not all(found):
        return None
    first = found[0][0][1]
    lead_times = np.intersect1d(first[LEAD], found[1][0][1][LEAD])
    if not lead_times.size:
        return None
    ours, theirs = ({time: field.sel({LEAD: lead_times}).to_numpy() for time, field in part} for part in found)
    maps = [_of_lead(ours, theirs, lead, settings) for lead in range(len(lead_times))]
    values = {key: (DIMS, np.stack([one[key] for one in maps])) for key in ("difference", "reference", "significant")}
    counts = {key: ("lead_time", np.array([one[key] for one in maps])) for key in ("init_times", "tested")}
    places = {"latitude": first[ROWS].to_numpy(), "longitude": first[COLUMNS].to_numpy()}
    return xr.Dataset({**values, **counts}, {"lead_time": lead_times, **places, "name": name})


def _of_lead(ours: Series, theirs: Series, lead: int, settings: SignificanceConfig) -> dict[str, NDArray[np.generic]]:
    """Mean difference, mean of theirs, significance [latitude, longitude], and the number of init times."""
    pairs = [(time, ours[time][lead], theirs[time][lead]) for time in sorted(ours.keys() & theirs.keys())]
    known = [(time, a, b) for time, a, b in pairs if np.isfinite(a - b).any()]
    times = np.array([time for time, _, _ in known])
    if not known:
        nothing = np.full(pairs[0][1].shape, np.nan)
        fields = {"difference": nothing, "reference": nothing, "significant": nothing > 0}
        return {**fields, "init_times": np.array(0), "tested": np.array(False)}
    reference = np.mean([b for _, _, b in known], axis=0, dtype=np.float64)
    series = np.stack([np.subtract(a, b, dtype=np.float64) for _, a, b in known])
    positions = significance.regular_positions(times) if len(times) >= settings.min_init_times else None
    significant = _significant(series.reshape(len(series), -1), positions, settings.level)
    return {
        "difference": series.mean(axis=0),
        "reference": reference,
        "significant": significant.reshape(reference.shape),
        "init_times": np.array(len(known)),
        "tested": np.array(positions is not None),
    }


def _significant(series: Float, positions: significance.Positions | None, level: float) -> NDArray[np.bool_]:
    """Which means of `series` [time, point] differ from 0, with both tests and the false discovery rate of the map.

    None for few or irregular times, `positions` None.
    """
    if positions is None:
        return np.zeros(series.shape[1], np.bool_)
    p = np.concatenate([_larger_p(part, positions) for part in _columns(series)])
    return np.asarray(significance.false_discovery(p) <= level)


def _larger_p(series: Float, positions: significance.Positions) -> Float:
    """The larger p-value of the two tests, [point]; NaN for differences that do not vary."""
    able = np.where(significance.varies(series), series, np.nan)
    return np.asarray(np.maximum(significance.ar2_test(able, positions).p, significance.ewc_test(able).p))


def _columns(series: Float) -> Iterator[Float]:
    for start in range(0, series.shape[1], _CELLS):
        yield series[:, start : start + _CELLS]
