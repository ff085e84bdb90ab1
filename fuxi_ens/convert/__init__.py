"""The released network as one of our checkpoints. Reads ONNX files as data; never runs them."""

from fuxi_ens.convert.run import Conversion, convert_onnx

__all__ = ["Conversion", "convert_onnx"]
