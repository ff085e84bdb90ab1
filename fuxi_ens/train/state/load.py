"""Reading a state into tensors that exist already, on any number of ranks."""

import io
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.planner import ReadItem

from fuxi_ens.errors import UserError
from fuxi_ens.train.ranks import Ranks


def load_tensors(folder: Path, tensors: dict[str, Any], ranks: Ranks) -> None:
    """Fill a nested dict from the files of a state whose checksums are right, in place. Collective.

    Each rank reads what its shards need. Raises UserError if the state lacks something or has another shape.
    """
    with warnings.catch_warnings():
        # A world of one is no accident.
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        try:
            dcp.load(
                tensors,
                storage_reader=dcp.FileSystemReader(folder),
                planner=_CarefulPlanner(),
                process_group=ranks.control,
                no_dist=ranks.control is None,
            )
        except dcp.CheckpointException as error:
            reasons = sorted({str(reason) for reason, _ in error.failures.values()})
            raise UserError(
                f"{folder} does not fit this version of fuxi_ens: {'; '.join(reasons)}; resume with the version that "
                f"wrote it, or delete {folder.parent} to start anew"
            ) from error


class _CarefulPlanner(dcp.DefaultLoadPlanner):
    """Refuses values that are more than plain data, before they are unpickled."""

    def load_bytes(self, read_item: ReadItem, value: io.BytesIO) -> None:
        torch.load(value, weights_only=True)
        value.seek(0)
        super().load_bytes(read_item, value)
