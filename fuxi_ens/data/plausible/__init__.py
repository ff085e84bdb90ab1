"""Does a frame look like the Earth's atmosphere? Values, balance, static fields; see `frame`."""

from fuxi_ens.data.plausible.finding import Finding
from fuxi_ens.data.plausible.frame import examine, require_plausible

__all__ = ["Finding", "examine", "require_plausible"]
