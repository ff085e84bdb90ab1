"""Curves and pictures of a run in the programs people watch them with. All write below the run folder, offline.

A tracker is a convenience: one that fails is left out with a warning, and training goes on.
"""

import logging
import os
import time
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from PIL import Image

from fuxi_ens.config import Config
from fuxi_ens.errors import UserError
from fuxi_ens.files import write_atomic

Numbers = Mapping[str, float]
log = logging.getLogger(__name__)

_PICTURE = "validation"
_FAILED = "tracker %s failed and is left out from here on; metrics.jsonl has everything"
_BROUGHT_BY = MappingProxyType({"tensorboard": "fuxi-ens", "mlflow": "fuxi-ens[mlflow]", "wandb": "fuxi-ens[wandb]"})


class Tracker(Protocol):
    """Where curves go."""

    def write(self, kind: str, iteration: int, numbers: Numbers) -> None:
        """Add a point to every curve; `kind` is the first part of all names."""

    def picture(self, iteration: int, path: Path) -> None:
        """Add a PNG file."""

    def close(self) -> None:
        """Write what is left."""


def require_trackers(names: tuple[str, ...]) -> None:
    """Raise UserError for a tracker that is not installed, naming what brings it."""
    for name in names:
        if not _is_installed(name):
            raise UserError(
                f"train.trackers asks for {name}, which is not installed; run `pip install '{_BROUGHT_BY[name]}'`, or "
                f"take {name} out of train.trackers"
            )


def _is_installed(module: str) -> bool:
    """A folder of that name in the working directory, as trackers leave them, is no package."""
    spec = find_spec(module)
    return spec is not None and spec.origin is not None


class Trackers:
    """All trackers of a run; those that fail fall silent."""

    def __init__(self, config: Config, folder: Path, resumed_at: int) -> None:
        makers: dict[str, Callable[[], Tracker]] = {
            "tensorboard": partial(TensorBoard, folder, resumed_at),
            "mlflow": partial(MLflow, folder, config),
            "wandb": partial(WeightsAndBiases, folder, config),
        }
        self._open: dict[str, Tracker] = {}
        for name in config.train.trackers:
            try:
                self._open[name] = makers[name]()
            except Exception:
                log.warning(_FAILED, name, exc_info=True)

    def write(self, kind: str, iteration: int, numbers: Numbers) -> None:
        """Add a point to every curve, everywhere."""
        self._each(lambda tracker: tracker.write(kind, iteration, numbers))

    def picture(self, iteration: int, path: Path) -> None:
        """Add a PNG file everywhere."""
        self._each(lambda tracker: tracker.picture(iteration, path))

    def close(self) -> None:
        """Write what is left everywhere."""
        self._each(lambda tracker: tracker.close())

    def _each(self, act: Callable[[Tracker], None]) -> None:
        for name, tracker in tuple(self._open.items()):
            try:
                act(tracker)
            except Exception:
                log.warning(_FAILED, name, exc_info=True)
                del self._open[name]


class TensorBoard:
    """Event files below `tensorboard/`: `tensorboard --logdir RUN/training/tensorboard`."""

    def __init__(self, folder: Path, resumed_at: int) -> None:
        """Points after `resumed_at` that an earlier attempt left are hidden from the curves."""
        # Two seconds of import that a run without it need not spend.
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=resumed_at + 1, flush_secs=30)

    def write(self, kind: str, iteration: int, numbers: Numbers) -> None:
        """See `Tracker`."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, iteration)

    def picture(self, iteration: int, path: Path) -> None:
        """See `Tracker`."""
        with Image.open(path) as image:
            self._writer.add_image(_PICTURE, np.asarray(image.convert("RGB")), iteration, dataformats="HWC")

    def close(self) -> None:
        """See `Tracker`."""
        self._writer.close()


class MLflow:
    """Files below `mlflow/`: `MLFLOW_ALLOW_FILE_STORE=true mlflow ui --backend-store-uri RUN/training/mlflow`.

    Not MLflow's database: SQLite wants file locks that parallel file systems do not keep, and ecCodes brings another
    SQLite into the process. `mlflow migrate-filestore` makes a database of the files.
    """

    _MOST_PER_CALL = 1000
    """Points that MLflow takes at once."""

    def __init__(self, folder: Path, config: Config) -> None:
        """Goes on with the run that an earlier attempt began."""
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        # MLflow tells its makers about its use; a compute node has no business with that, nor a way there.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient((folder / "mlflow").absolute().as_uri())
        found = self._client.get_experiment_by_name(config.run.name)
        experiment = found.experiment_id if found else self._client.create_experiment(config.run.name)
        runs = self._client.search_runs([experiment])
        self._run = runs[0] if runs else self._client.create_run(experiment, run_name=config.run.name)
        self._id = self._run.info.run_id
        self._client.log_dict(self._id, config.model_dump(mode="json"), "config.yaml")

    def write(self, kind: str, iteration: int, numbers: Numbers) -> None:
        """See `Tracker`. Iterations that were told before a resume are not told twice: MLflow would draw both."""
        from mlflow.entities import Metric, RunTag

        tag = f"last_{kind}_iteration"
        if iteration <= int(self._run.data.tags.get(tag, 0)):
            return
        now = time.time_ns() // 1_000_000
        points = [Metric(name, value, now, iteration) for name, value in numbers.items()]
        for first in range(0, len(points), self._MOST_PER_CALL):
            self._client.log_batch(self._id, points[first : first + self._MOST_PER_CALL])
        self._client.log_batch(self._id, tags=[RunTag(tag, str(iteration))])

    def picture(self, iteration: int, path: Path) -> None:
        """See `Tracker`."""
        self._client.log_artifact(self._id, str(path))

    def close(self) -> None:
        """See `Tracker`."""
        self._client.set_terminated(self._id)


class WeightsAndBiases:
    """Offline segments below `wandb/`, one for each attempt, all of one run: `wandb sync RUN/training/wandb/*run-*`."""

    def __init__(self, folder: Path, config: Config) -> None:
        """Goes on under the name that an earlier attempt gave the run."""
        import wandb

        known = folder / "wandb" / "run_id"
        if not known.exists():
            write_atomic(known, uuid.uuid4().hex.encode())
        settings = wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True)
        self._image: Callable[[str], Any] = wandb.Image
        self._run = wandb.init(
            project="fuxi_ens",
            name=config.run.name,
            id=known.read_text(),
            dir=str(folder),
            mode="offline",
            config=config.model_dump(mode="json"),
            settings=settings,
        )

    def write(self, kind: str, iteration: int, numbers: Numbers) -> None:
        """See `Tracker`. The service keeps the first of two points at one iteration when segments are uploaded."""
        self._run.log(dict(numbers), step=iteration)

    def picture(self, iteration: int, path: Path) -> None:
        """See `Tracker`."""
        self._run.log({_PICTURE: self._image(str(path))}, step=iteration)

    def close(self) -> None:
        """See `Tracker`."""
        self._run.finish()
