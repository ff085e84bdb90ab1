"""From an initializer to the key and the direction of a tensor of ours.

Keys are those of the release, which are ours (model.md 2.8). An exporter may rename a matrix when it stores it
transposed ("onnx::MatMul_4711"); then the node that uses it still names its module.
"""

import re

from fuxi_ens.convert.onnx_file import Initializer, Use

_KEY = re.compile(r"(mean|std|const|(dist_p|decoder\.\d+)\..+\.(weight|bias))")
_PRODUCTS = ("MatMul", "Gemm")


def key_of(initializer: Initializer) -> str | None:
    """The key the initializer claims by its name, or else by the one place where it is used."""
    if _KEY.fullmatch(initializer.name):
        return initializer.name
    kind = "weight" if len(initializer.shape) > 1 else "bias"
    keys = {f"{_module(use)}.{kind}" for use in initializer.uses}
    key = keys.pop() if len(keys) == 1 else ""
    return key if _KEY.fullmatch(key) else None


def stored_in_out(initializer: Initializer) -> bool | None:
    """Whether a matrix is stored as [in, out]; None if the graph does not say."""
    said = {use.in_out for use in initializer.uses if use.operator in _PRODUCTS and use.operand == 1}
    return said.pop() if len(said) == 1 else None


def _module(use: Use) -> str:
    """Dotted module path of a node's scope, as /dist_p/layers.1/blocks.0/adaln/adaln.1/Gemm says dist_p...adaln.1."""
    *parts, _operator = use.scope.strip("/").split("/")
    # A Sequential and its child both leave their name; the child's holds both.
    return ".".join(part for i, part in enumerate(parts) if not "".join(parts[i + 1 : i + 2]).startswith(f"{part}."))
