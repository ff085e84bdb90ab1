"""Where the site file is looked for."""

import os
from pathlib import Path

from fuxi_ens.config.file import read_config
from fuxi_ens.config.site import SiteConfig
from fuxi_ens.errors import UserError

SITE_VARIABLE = "FUXI_ENS_SITE"


def load_site(path: Path | None = None) -> SiteConfig:
    """The site file at `path`, else at $FUXI_ENS_SITE, else slurm/site.yaml, else ~/.config/fuxi_ens/site.yaml.

    Raises UserError (ConfigError where a file is wrong) with the remedy.
    """
    return read_config(SiteConfig, path or _found(), ())


def _found() -> Path:
    if named := os.environ.get(SITE_VARIABLE):
        return Path(named)
    usual = [Path("slurm/site.yaml"), Path.home() / ".config" / "fuxi_ens" / "site.yaml"]
    for candidate in usual:
        if candidate.exists():
            return candidate
    raise UserError(
        f"no site file: ${SITE_VARIABLE} is not set, and neither {usual[0]} nor {usual[1]} exists; copy "
        "slurm/site.example.yaml to one of them and edit it, or name another with --site"
    )
