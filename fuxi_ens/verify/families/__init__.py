"""Families of scores: what is summed of each block, what is made of the sums. `base` says how to add one."""

from types import MappingProxyType
from typing import Final

from fuxi_ens.config import VerifyConfig
from fuxi_ens.verify.families.anomaly import Anomalies
from fuxi_ens.verify.families.base import Family as Family
from fuxi_ens.verify.families.ensemble import EnsembleScores
from fuxi_ens.verify.families.events import PrecipitationEvents, QuantileEvents
from fuxi_ens.verify.families.hersbach import HersbachParts
from fuxi_ens.verify.families.maps import Maps
from fuxi_ens.verify.families.multivariate import Multivariate
from fuxi_ens.verify.families.ranks import Ranks
from fuxi_ens.verify.families.seeps import Seeps
from fuxi_ens.verify.families.spectra import Spectra
from fuxi_ens.verify.families.spread import Spread
from fuxi_ens.verify.families.tails import Tails
from fuxi_ens.verify.families.wind import VectorWind

_ALL: Final[tuple[type[Family], ...]] = (
    EnsembleScores,
    Ranks,
    Spread,
    Anomalies,
    Tails,
    VectorWind,
    QuantileEvents,
    PrecipitationEvents,
    HersbachParts,
    Seeps,
    Spectra,
    Multivariate,
    Maps,
)
FAMILIES: Final = MappingProxyType({family.name: family for family in _ALL})
"""All families by their name in `verify.scores`."""
ON_DEMAND: Final = frozenset(name for family in _ALL if family.on_demand for name in family.sums)
"""Names of sums that are read from the files when they are asked for."""


def configured(section: VerifyConfig) -> tuple[Family, ...]:
    """The families of `verify.scores`, with their settings."""
    return tuple(FAMILIES[name].from_config(section) for name in section.scores)
