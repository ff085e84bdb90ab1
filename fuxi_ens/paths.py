"""Where a run keeps things, below its folder. The only place that names them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, slots=True)
class RunPaths:
    """Files and folders of one run."""

    folder: Path

    @property
    def statistics(self) -> Path:
        """Means and standard deviations of the training periods."""
        return self.folder / "statistics.json"

    @property
    def statistics_sums(self) -> Path:
        """Sums of the blocks that an unfinished pass has behind it."""
        return self.folder / "statistics.partial"

    @property
    def climatology(self) -> Path:
        """Mean, spread and quantiles by day of the year and hour."""
        return self.folder / "climatology.zarr"

    @property
    def climatology_work(self) -> Path:
        """The climatology while it is being made, with its scratch files."""
        return self.folder / "climatology.partial"

    @property
    def training(self) -> Path:
        """States for resuming."""
        return self.folder / "training"

    @property
    def metrics(self) -> Path:
        """Losses and validation scores, JSON lines."""
        return self.folder / "training" / "metrics.jsonl"

    @property
    def model(self) -> Path:
        """The finished model."""
        return self.folder / "model"

    @property
    def forecast(self) -> Path:
        """The ensemble store."""
        return self.folder / "forecast.zarr"

    def forecast_from(self, init_time: np.datetime64) -> Path:
        """The ensemble store of one init time that was the newest, so that the next one finds room."""
        return self.folder / f"forecast_{np.datetime_as_string(init_time, unit='h')}.zarr"

    @staticmethod
    def claims(forecast: Path) -> Path:
        """File whose locks say which process makes what of a forecast."""
        return forecast.with_suffix(".claims")

    @property
    def scores(self) -> Path:
        """Statistics per system and init time."""
        return self.folder / "scores"

    @property
    def cyclones(self) -> Path:
        """Tracks of cyclones and their scores."""
        return self.folder / "events" / "cyclones"

    @property
    def heat_waves(self) -> Path:
        """Probabilities of heat waves and their scores."""
        return self.folder / "events" / "heat_waves"

    @property
    def jobs(self) -> Path:
        """Scripts, logs and the list of batch jobs."""
        return self.folder / "jobs"

    @property
    def report(self) -> Path:
        """Scorecard table, picture and HTML report."""
        return self.folder / "report"
