"""The processes of one training and what they agree on. One process is a world of its own and needs no launcher."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from fuxi_ens.data.samples import RankPlace
from fuxi_ens.errors import UserError
from fuxi_ens.launch import this_process

T = TypeVar("T")

_TIMEOUT = timedelta(minutes=30)
"""For one collective: longer than the slowest rank's first read of a store, shorter than an allocation."""
_PORTS = range(10000, 30000)
"""Below the ephemeral ports of Linux."""


@dataclass(frozen=True)
class Ranks:
    """This process among all, with a group of its own for agreements: they never wait for a device."""

    place: RankPlace
    control: dist.ProcessGroup | None
    """Over the network's ordinary sockets; None in a world of one."""
    members: dist.ProcessGroup | None
    """Ranks that share this rank's sample; None if it has its samples to itself."""

    @classmethod
    def alone(cls) -> "Ranks":
        """A world of one."""
        return cls(RankPlace(), None, None)

    @property
    def main(self) -> bool:
        """Whether this rank talks and writes what exists once."""
        return self.place.rank == 0

    def largest(self, values: list[int]) -> list[int]:
        """Elementwise maximum over all ranks, the same answer everywhere."""
        if self.control is None:
            return values
        tensor = torch.tensor(values)
        dist.all_reduce(tensor, dist.ReduceOp.MAX, group=self.control)
        out: list[int] = tensor.tolist()
        return out

    def gather(self, value: T) -> list[T]:
        """The values of all ranks by rank, on every rank."""
        if self.control is None:
            return [value]
        out: list[T] = [value] * self.place.world
        dist.all_gather_object(out, value, group=self.control)
        return out

    def from_main(self, value: T) -> T:
        """The value of rank 0, on every rank."""
        if self.control is None:
            return value
        out = [value]
        dist.broadcast_object_list(out, src=0, group=self.control)
        return out[0]

    def mean(self, value: Tensor) -> Tensor:
        """Mean over all ranks, float64 on the CPU, the same on every rank."""
        return self.total(value) / self.place.world

    def total(self, value: Tensor) -> Tensor:
        """Sum over all ranks, float64 on the CPU, the same on every rank."""
        summed = value.detach().double().cpu()
        if self.control is not None:
            summed = summed.clone()
            dist.all_reduce(summed, group=self.control)
        return summed

    def wait(self) -> None:
        """Return when all ranks are here."""
        if self.control is not None:
            dist.barrier(self.control)


@contextmanager
def joined(ranks_per_sample: int, device: torch.device) -> Iterator[Ranks]:
    """Join the processes that the launcher started, leave them at the end. Raises UserError for an impossible split."""
    process = this_process()
    try:
        place = RankPlace(process.rank, process.world, ranks_per_sample)
    except ValueError as error:
        raise UserError(
            f"train.ranks_per_sample {ranks_per_sample} does not divide the {process.world} processes started; change "
            "it, or the number of tasks"
        ) from error
    if process.world == 1:
        yield Ranks.alone()
        return
    _name_meeting_point()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, rank=process.rank, world_size=process.world, timeout=_TIMEOUT)
    try:
        yield Ranks(place, dist.new_group(backend="gloo", timeout=_TIMEOUT), _members_group(place))
    finally:
        # Without a barrier before it: after an error the others may be gone.
        dist.destroy_process_group()


def _members_group(place: RankPlace) -> dist.ProcessGroup | None:
    if place.ranks_per_sample == 1:
        return None
    # Every rank must take part in making every group.
    groups = [
        dist.new_group(list(range(first, first + place.ranks_per_sample)), timeout=_TIMEOUT)
        for first in range(0, place.world, place.ranks_per_sample)
    ]
    mine = groups[place.group]
    assert isinstance(mine, dist.ProcessGroup)
    return mine


def _name_meeting_point() -> None:
    """Set where rank 0 listens, unless the launcher said so: the first node of the step, a port of the job's own."""
    if "MASTER_ADDR" not in os.environ:
        nodes = subprocess.run(
            ["scontrol", "show", "hostnames", os.environ["SLURM_STEP_NODELIST"]],
            capture_output=True,
            text=True,
            check=True,
        )
        os.environ["MASTER_ADDR"] = nodes.stdout.split()[0]
    if "MASTER_PORT" not in os.environ:
        # Another one after each requeue: the old port may still be in use.
        attempt = 7 * int(os.environ["SLURM_JOB_ID"]) + int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        os.environ["MASTER_PORT"] = str(_PORTS[attempt % len(_PORTS)])
