"""From what a user names, a run or a store, to the open forecast of which pictures are made."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fuxi_ens.config import Config
from fuxi_ens.config.sections import ReportConfig
from fuxi_ens.errors import UserError
from fuxi_ens.paths import RunPaths
from fuxi_ens.plot.ensemble_read import Forecast
from fuxi_ens.plot.fields import Place, Stores
from fuxi_ens.plot.figure import FORMATS
from fuxi_ens.plot.snapshot import Snapshot
from fuxi_ens.verify.open import open_analysis, open_forecast


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a user named of a forecast and its stores; None means the default, see the methods of Chosen."""

    config: Config | None = None
    store: str | None = None
    truth: str | None = None
    alone: bool = False
    """Without truth and baseline."""
    members: int | None = None
    with_baseline: bool = False


@dataclass(frozen=True, slots=True)
class Chosen:
    """An open forecast, and what the report of its run says should be shown."""

    forecast: Forecast
    report: ReportConfig | None
    folder: Path
    """Where pictures go whose path is not given."""
    baseline_name: str

    def place(self, text: str | None) -> Place:
        """The place written as NAME,LAT,LON, or the report's. Raises UserError when there is neither."""
        if text is not None:
            return read_place_text(text)
        if self.report is None:
            raise UserError("no place given; name one with --place, e.g. --place Berlin,52.5,13.4")
        return Place(**self.report.place.model_dump())

    def snapshot(self, name: str | None, init_time: np.datetime64 | None, hours: float | None) -> Snapshot:
        """One field; without a name the first of the headline scorecard, without a lead time the report's."""
        asked = self.report.map_lead_hours if hours is None and self.report else hours
        first = self.forecast.names_or_headline([name] if name else [])[0]
        return self.forecast.snapshot(first, self.forecast.init_time(init_time), self.forecast.lead_time(asked))

    def path(self, out: Path | None, kind: str, names: str, init_time: np.datetime64, detail: str) -> Path:
        """`out`, or a name that says what is in the picture. Raises UserError for a suffix that is no picture's."""
        if out is None:
            return self.folder / f"{kind}_{names}_{pd.Timestamp(init_time):%Y%m%d%H}_{detail}.png"
        require_picture(out)
        return out


def require_picture(out: Path | None) -> None:
    """Raise UserError for a path that cannot become a picture, before anything is read."""
    if out is not None and out.suffix.removeprefix(".") not in FORMATS:
        raise UserError(
            f"cannot draw into {out}; use one of the suffixes {', '.join(f'.{known}' for known in FORMATS)}"
        )


def open_chosen(wanted: Wanted) -> Chosen:
    """Open the stores of a run, or a store that is named. Raises UserError for neither, StoreError for a bad store."""
    config = wanted.config
    if config is None and wanted.store is None:
        raise UserError("nothing to draw; name a run's CONFIG, or an ensemble store with --store")
    paths = None if config is None else RunPaths(config.run.folder)
    truth = wanted.truth or (config.verify.truth or config.data.store if config else None)
    baseline = open_forecast(config.verify.baseline) if config and wanted.with_baseline and not wanted.alone else None
    store = wanted.store or str(config.forecast_store if config else "")
    system = config.verify.forecast_name if config and wanted.store is None else Path(store.rstrip("/")).stem
    stores = Stores(
        open_forecast(store),
        open_analysis(truth) if truth and not wanted.alone else None,
        baseline,
    )
    return Chosen(
        Forecast(stores, system).with_members(wanted.members),
        config.report if config else None,
        paths.report if paths else Path(),
        config.verify.baseline_name if config else "",
    )


def read_place_text(text: str) -> Place:
    """A place from `Berlin,52.5,13.4`; the name may hold commas. Raises UserError for another form or no such place."""
    name, *numbers = text.rsplit(",", 2)
    try:
        latitude, longitude = (float(number) for number in numbers)
    except ValueError as error:
        raise UserError(f"{text!r} is no place; write NAME,LAT,LON in degrees, e.g. Berlin,52.5,13.4") from error
    if not (-90.0 <= latitude <= 90.0 and -180.0 <= longitude <= 360.0):
        raise UserError(f"{text!r} is not on Earth; latitudes go from -90 to 90, longitudes from -180 to 360 degrees")
    return Place(name.strip(), latitude, longitude)
