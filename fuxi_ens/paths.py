"""Where a run keeps things, below its folder. The only place that names them."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RunPaths:
    """Files and folders of one run."""

    folder: Path

    @property
    def statistics(self) -> Path:
        """Means and standard deviations of the training periods."""
        return self.folder / "statistics.json"

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

    @property
    def scores(self) -> Path:
        """Statistics per system and init time."""
        return self.folder / "scores"

    @property
    def report(self) -> Path:
        """Scorecard table, picture and HTML report."""
        return self.folder / "report"
