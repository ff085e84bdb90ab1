"""One small store of forecasts: instants, accumulations, pressure levels, a sea temperature with land."""

import numpy as np
from makers import times

CHANNELS = ("z500", "z850", "t850", "q850", "t2m", "sst", "u10m", "u100m", "msl", "ssr", "ttr", "tp")
INIT_TIMES = times("2018-01-01", "2018-01-01T12", 12)
LEADS = np.array([6, 12, 18], "m8[h]").astype("m8[ns]")
