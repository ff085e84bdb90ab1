"""Training states on disk: all that an exact resume needs, sharded, written while training goes on, whole or absent.

Random numbers and the order of samples are functions of the seed and of the position, so tensors, position and a few
counters are all there is to restore.
"""

from fuxi_ens.train.state.manifest import Counters, Position
from fuxi_ens.train.state.store import SavedState, StateStore

__all__ = ["Counters", "Position", "SavedState", "StateStore"]
