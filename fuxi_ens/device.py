"""The device of this process."""

import os

import torch

from fuxi_ens.cores import available_cores
from fuxi_ens.errors import UserError


def require_one_process() -> None:
    """Raise UserError when several processes were started for work that one must do."""
    world = int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_STEP_NUM_TASKS", "1")))
    if world > 1:
        raise UserError(f"training runs in one process for now, {world} were started; use one task with one GPU")


def choose_device(threads: int) -> torch.device:
    """The GPU of this process when there is one, else the CPU with `threads` threads (0: all the job was given)."""
    if torch.cuda.is_available():
        # A task may see only its own GPU, or all of the node's.
        index = int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")))
        return torch.device("cuda", index % torch.cuda.device_count())
    torch.set_num_threads(threads or available_cores())
    return torch.device("cpu")
