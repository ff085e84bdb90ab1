"""What a picture of a validation shows; who draws it is none of training's business."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ValidationPicture:
    """One field of one validation forecast beside its truth, in file units."""

    name: str
    """A channel or a derived wind speed."""
    init_time: np.datetime64
    lead_time: np.timedelta64
    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]
    members_MHW: NDArray[np.float32]
    truth_HW: NDArray[np.float32]


Draw = Callable[[ValidationPicture, Path], None]
"""Draws a picture into a PNG file."""
