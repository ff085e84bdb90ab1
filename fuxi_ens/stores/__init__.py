"""The border to stores: whatever archive and layout, our names, orientation, order and units behind it."""

# Before anything of xarray's: opening a file makes xarray load every reader that is installed, cfgrib's ecCodes too,
# and that brings a libproj of its own. Where it is in the process first, the one of pyproj, which maps need, crashes;
# loaded first, both work.
import pyproj  # noqa: F401

from fuxi_ens.stores.border import open_store
from fuxi_ens.stores.fields import Fields
from fuxi_ens.stores.stored import OpenStore, StoredArray

__all__ = ["Fields", "OpenStore", "StoredArray", "open_store"]
