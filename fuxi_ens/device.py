"""The device of this process."""

import os

import torch


def choose_device(threads: int) -> torch.device:
    """The GPU of this process when there is one, else the CPU with `threads` threads (0: all the job was given)."""
    if torch.cuda.is_available():
        # A task may see only its own GPU, or all of the node's.
        index = int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")))
        return torch.device("cuda", index % torch.cuda.device_count())
    torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
    return torch.device("cpu")
