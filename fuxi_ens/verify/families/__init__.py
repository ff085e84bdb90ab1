"""Families of scores: what is summed of each block, what is made of the sums. `base` says how to add one."""

from types import MappingProxyType
from typing import Final

from fuxi_ens.config import VerifyConfig
from fuxi_ens.verify.families.base import Family as Family
from fuxi_ens.verify.families.ensemble import EnsembleScores
from fuxi_ens.verify.families.ranks import Ranks

FAMILIES: Final = MappingProxyType({family.name: family for family in (EnsembleScores, Ranks)})
"""All families by their name in `verify.scores`."""


def configured(section: VerifyConfig) -> tuple[Family, ...]:
    """The families of `verify.scores`, with their settings."""
    return tuple(FAMILIES[name].from_config(section) for name in section.scores)
