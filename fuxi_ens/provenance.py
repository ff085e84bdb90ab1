"""Who made an artifact: code version, config hash, seed, source stores, library versions. Goes into every output."""

import hashlib
import platform
from importlib.metadata import PackageNotFoundError, version

from fuxi_ens import __version__
from fuxi_ens.config import Config, Section

_LIBRARIES = ("numpy", "torch", "xarray", "zarr")


_WHERE_NOT_WHAT = {"run": {"folder", "threads"}}


def config_hash(*sections: Section) -> str:
    """First 12 hex digits of the SHA-256 of the resolved sections; equal settings give equal hashes.

    Where a run keeps its files and how many threads it takes do not count.
    """
    text = "\n".join(s.model_dump_json(exclude=_WHERE_NOT_WHAT if isinstance(s, Config) else None) for s in sections)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def provenance(config: Config, **extra: str | int | float) -> dict[str, str | int | float]:
    """Attributes for a file or an artifact. Holds no clock time, so that equal runs give equal bytes."""
    return {
        "fuxi_ens_version": __version__,
        "run_name": config.run.name,
        "config_hash": config_hash(config),
        "seed": config.run.seed,
        "analysis_store": config.data.store,
        "libraries": ", ".join(f"{name} {_version(name)}" for name in _LIBRARIES),
        "python": platform.python_version(),
        **extra,
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
