"""Which process this is among those that a launcher started together, from the launcher's own variables."""

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Process:
    """Place of a process; rank 0 is the one that talks and writes what exists once."""

    rank: int
    world: int
    local_rank: int
    """Rank among the processes of its node."""


def this_process() -> Process:
    """From torchrun's variables if they are set, else those of a SLURM step, else a process of its own.

    torchrun wins because its agents, started by `srun`, leave their own SLURM ranks to the workers.
    """
    if "WORLD_SIZE" in os.environ:
        return Process(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), int(os.environ.get("LOCAL_RANK", "0")))
    # SLURM_NTASKS is the job's, also in its batch script; only a step has this one.
    if "SLURM_STEP_NUM_TASKS" in os.environ and "SLURM_PROCID" in os.environ:
        return Process(
            int(os.environ["SLURM_PROCID"]),
            int(os.environ["SLURM_STEP_NUM_TASKS"]),
            int(os.environ.get("SLURM_LOCALID", "0")),
        )
    return Process(0, 1, 0)
