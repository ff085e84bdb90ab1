"""FuXi-ENS from ERA5 to scorecard: data, training, 15-day ensembles, verification.

Nothing is imported here, so that `import fuxi_ens` costs nothing; import what you need from the submodules.
"""

__version__ = "0.1.0"
