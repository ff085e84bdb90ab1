"""Who made an artifact: code version, config hash, seed, source stores, library versions. Goes into every output."""

import hashlib
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from fuxi_ens import __version__
from fuxi_ens.config import Config, Section

CONTROL_MEMBER: Final = "control_member"
"""Attribute of a forecast store with an unperturbed member: its number."""
DRAWS: Final = "draws"
"""Attribute of our forecasts, and of their scores: how the members share their noise (`config.DrawsName`)."""

_LIBRARIES = ("numpy", "torch", "xarray", "zarr")


def config_hash(config: Config, *sections: Section) -> str:
    """First 12 hex digits of the SHA-256 of the seed and of those sections that decide a result.

    What does not decide it (run.folder, run.threads, bookkeeping, sections of later stages) must not make it stale.
    """
    text = "\n".join([str(config.run.seed), *(_decisive(section) for section in sections)])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def provenance(config: Config, *sections: Section) -> dict[str, str | int]:
    """Attributes for an artifact that `sections` decide. Holds no clock time: equal runs give equal bytes."""
    return {
        "fuxi_ens_version": __version__,
        "run_name": config.run.name,
        "config_hash": config_hash(config, *sections),
        "seed": config.run.seed,
        "analysis_store": config.data.store,
        "libraries": ", ".join(f"{name} {_version(name)}" for name in _LIBRARIES),
        "python": platform.python_version(),
    }


def _decisive(section: Section) -> str:
    return section.model_dump_json(exclude=_excluded(section))


def _excluded(section: Section) -> dict[str, Any]:
    """Bookkeeping of a section and of the sections in its lists, as pydantic wants it."""
    excluded: dict[str, Any] = dict.fromkeys(section.bookkeeping, True)
    for name, value in section:
        if name not in excluded and isinstance(value, tuple) and value and isinstance(value[0], Section):
            excluded[name] = {"__all__": _excluded(value[0])}
    return excluded


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
