"""Writing a state while training goes on: ranks plan together, each copies what it will write, a thread writes it.

The steps are those of torch.distributed.checkpoint.async_save, taken apart: all that needs other ranks is done by the
main thread, so that a lost rank cannot leave a background thread waiting in a collective.
"""

import copy
import io
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.distributed.checkpoint import DefaultSavePlanner, FileSystemWriter
from torch.distributed.checkpoint.metadata import MetadataIndex
from torch.distributed.checkpoint.planner import SavePlan, WriteItem, WriteItemType
from torch.distributed.checkpoint.storage import WriteResult

from fuxi_ens.train.ranks import Ranks
from fuxi_ens.train.state.manifest import Checksum

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part:
    """What one rank wrote."""

    results: list[WriteResult]
    files: dict[str, Checksum]


class HostMemory:
    """Copies in memory that the next save uses again: to fill fresh pages takes longer than to copy.

    Pinned where tensors are on a GPU. One save at a time.
    """

    def __init__(self) -> None:
        self._buffers: dict[MetadataIndex, Tensor] = {}

    def copies(self, values: dict[MetadataIndex, Any]) -> dict[MetadataIndex, Any]:
        """Copies of tensors and plain values that stay as they are when the originals change."""
        tensors = {index: value.detach() for index, value in values.items() if isinstance(value, Tensor)}
        # What this save does not need is given back.
        self._buffers = {index: self._buffer(index, tensor) for index, tensor in tensors.items()}
        for index, tensor in tensors.items():
            self._buffers[index].copy_(tensor)
        plain = {index: copy.deepcopy(value) for index, value in values.items() if index not in tensors}
        return plain | self._buffers

    def _buffer(self, index: MetadataIndex, tensor: Tensor) -> Tensor:
        kept = self._buffers.get(index)
        if kept is not None and (kept.shape, kept.dtype) == (tensor.shape, tensor.dtype):
            return kept
        return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)


class Save:
    """A save under way on this rank."""

    def __init__(self, folder: Path, tensors: dict[str, Any], ranks: Ranks, memory: HostMemory) -> None:
        """Plan, copy this rank's share of `tensors`, and start to write it below `folder`. Collective."""
        self._folder, self._rank = folder, ranks.place.rank
        # The copies lie in memory of the host already, so nothing is to be copied ahead.
        self._writer = FileSystemWriter(folder, sync_files=True, thread_count=1, per_thread_copy_ahead=0)
        planner = _StagingPlanner(memory)
        planner.set_up_planner(tensors, self._writer.storage_meta(), ranks.main)
        self._writer.set_up_storage_writer(ranks.main)
        plans, self._metadata = planner.create_global_plan(ranks.gather(planner.create_local_plan()))
        plan = planner.finish_plan(self._writer.prepare_global_plan(plans)[self._rank])
        self._part = in_background(self._write, plan, planner)

    @property
    def done(self) -> bool:
        """Whether this rank's part is on disk, or has failed."""
        return self._part.done()

    def part(self) -> Part | str:
        """Wait for this rank's part; the reason if it failed."""
        error = self._part.exception()
        return self._part.result() if error is None else _reason(error)

    def finish(self, parts: list[Part]) -> dict[str, Checksum]:
        """Write what joins the parts of all ranks; returns the checksums of all files. Raises OSError."""
        self._writer.finish(self._metadata, [part.results for part in parts])
        files = {name: checksum for part in parts for name, checksum in part.files.items()}
        return files | _checksums(self._folder, ".metadata")

    def _write(self, plan: SavePlan, planner: "_StagingPlanner") -> Part:
        self._folder.mkdir(parents=True, exist_ok=True)
        results = self._writer.write_data(plan, planner).wait()
        return Part(results, _checksums(self._folder, f"__{self._rank}_*"))


class _StagingPlanner(DefaultSavePlanner):
    """Plans on the tensors that train, and keeps copies of those this rank writes, as they are at that moment."""

    def __init__(self, memory: HostMemory) -> None:
        super().__init__()
        self._memory = memory
        self._copies: dict[MetadataIndex, Any] = {}

    def finish_plan(self, new_plan: SavePlan) -> SavePlan:
        plan = super().finish_plan(new_plan)
        self._copies = self._memory.copies({item.index: self.lookup_object(item.index) for item in plan.items})
        return plan

    def resolve_data(self, write_item: WriteItem) -> Tensor | io.BytesIO:
        data = self.transform_object(write_item, self._copies[write_item.index])
        assert isinstance(data, io.BytesIO if write_item.type == WriteItemType.BYTE_IO else Tensor)
        return data


def in_background(work: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> Future[T]:
    """Run it in a thread of its own, which the program waits for when it ends."""
    executor = ThreadPoolExecutor(1, thread_name_prefix="training-state")
    future = executor.submit(work, *arguments, **options)
    executor.shutdown(wait=False)
    return future


def _checksums(folder: Path, pattern: str) -> dict[str, Checksum]:
    return {path.name: Checksum.of(path) for path in folder.glob(pattern)}


def _reason(error: BaseException) -> str:
    """What the operating system said, if it was the cause: torch hides a full disk behind an error of its own."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return f"{type(error).__name__}: {error}" if cause is None else str(cause)
