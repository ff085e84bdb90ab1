"""`data climatology`: days of the year gathered, then the window over them; see `run`."""
