"""From an ensemble store to files that other software reads: CF NetCDF and GRIB2."""
