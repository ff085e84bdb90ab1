"""The border to stores: whatever archive and layout, our names, orientation, order and units behind it."""

from fuxi_ens.stores.border import open_store
from fuxi_ens.stores.fields import Fields
from fuxi_ens.stores.stored import OpenStore, StoredArray

__all__ = ["Fields", "OpenStore", "StoredArray", "open_store"]
