"""Names of the looks of a scorecard, without the libraries that draw it."""

from enum import StrEnum


class CardStyle(StrEnum):
    """Looks that readers of the field know."""

    WEATHERBENCH = "weatherbench"
    GENCAST = "gencast"
    ECMWF = "ecmwf"
