"""`data audit`: what is in a store, and which of it training must not touch; see `run`."""
