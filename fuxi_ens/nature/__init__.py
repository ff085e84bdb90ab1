"""Nature run: a simulated atmosphere that stands in for a reanalysis when none is at hand.

Owns the generator (a free run of the general circulation model jcm with SPEEDY physics), the
physics ensemble made with the same model, and the cutting of the embedded sample. This is the
only package that may import jax, jcm or dinosaur; `boundary`, `model`, `restart`, `fields`, `run`
and `ensemble` do, the other modules need numpy, xarray and zarr alone. Products are called
"nature run", never reanalysis.
"""
