"""The device of this process."""

import torch

from fuxi_ens.cores import available_cores
from fuxi_ens.launch import this_process


def choose_device(threads: int) -> torch.device:
    """The GPU of this process when there is one, else the CPU with `threads` threads (0: all the job was given)."""
    if torch.cuda.is_available():
        # A task may see only its own GPU, or all of the node's.
        return torch.device("cuda", this_process().local_rank % torch.cuda.device_count())
    torch.set_num_threads(threads or available_cores())
    return torch.device("cpu")
