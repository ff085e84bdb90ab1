"""The networks of model.md 2.2 to 2.5 written a second time, in float64 NumPy with loops, from the text alone.

Attention is stated on the sphere: a token sees the tokens of its cell of a shifted lattice that is periodic in
longitude and is cut, not wrapped, at the poles. There is no roll, no mask and no window reshaping.
"""

import numpy as np
from scipy.special import erf


def weights_of(module):
    """Parameters by key, float64."""
    return {name: value.detach().numpy().astype(np.float64) for name, value in module.state_dict().items()}


def silu(x):
    return x / (1 + np.exp(-x))


def gelu(x):
    return 0.5 * x * (1 + erf(x / np.sqrt(2)))


def norm(x, config):
    """Facts 2.3, 2.4: the release divides the sum of squares by n - 1."""
    centered = x - x.mean(-1, keepdims=True)
    count = x.shape[-1] - (config.norm_variance == "sample")
    return centered / np.sqrt((centered**2).sum(-1, keepdims=True) / count + 1e-6)


def cell(row, column, rows, columns, window, shift):
    """Cell of the lattice (name), and the place inside it, of the token at (row, column)."""
    north_south = (row - shift) // window
    east_west = ((column - shift) // window) % (columns // window)
    return (north_south, east_west), ((row - shift) % window) * window + (column - shift) % window


def turn(vector, position):
    """Rotary position: pair i of neighbors is turned by position * 10000^(-2i/K)."""
    size = len(vector)
    pairs = vector.reshape(-1, 2) @ np.array([1, 1j])
    turned = pairs * np.exp(1j * position * 10000.0 ** (-np.arange(0, size, 2) / size))
    return np.stack([turned.real, turned.imag], axis=-1).ravel()


def attention(x, w, prefix, heads, window, shift):
    """[h, w, D] to the same shape: explicit softmax over the tokens that share a cell."""
    rows, columns, width = x.shape
    size = width // heads
    q, k, v = (x @ w[f"{prefix}.w{letter}.weight"].T for letter in "qkv")
    places = {(r, c): cell(r, c, rows, columns, window, shift) for r in range(rows) for c in range(columns)}
    mixed = np.zeros_like(x)
    for (r, c), (name, position) in places.items():
        seen = [(token, other) for token, (cell_name, other) in places.items() if cell_name == name]
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            query = turn(q[r, c, part], position)
            logits = np.array([query @ turn(k[token][part], other) for token, other in seen]) / np.sqrt(size)
            share = np.exp(logits - logits.max())
            share /= share.sum()
            mixed[r, c, part] = sum(p * v[token][part] for p, (token, _) in zip(share, seen, strict=True))
    return mixed @ w[f"{prefix}.wo.weight"].T


def block(x, condition, w, prefix, config, shift):
    """Facts 2.4."""
    vectors = silu(condition) @ w[f"{prefix}.adaln.1.weight"].T + w[f"{prefix}.adaln.1.bias"]
    scale1, shift1, gate1, scale2, shift2, gate2 = np.split(vectors, 6)
    seen = norm(x, config) * (1 + scale1) + shift1
    x = x + gate1 * attention(seen, w, f"{prefix}.attn", config.heads, config.window, shift)
    a, b = np.split((norm(x, config) * (1 + scale2) + shift2) @ w[f"{prefix}.mlp.fc1.weight"].T, 2, axis=-1)
    return x + gate2 * ((a * gelu(b)) @ w[f"{prefix}.mlp.fc2.weight"].T)


def condition_of(clock, w):
    """Sum of the three clock embeddings."""
    total = 0.0
    for value, name in zip(clock, ("step", "hour", "doy"), strict=True):
        angle = value * 10000.0 ** (-np.arange(128) / 128)
        first = np.concatenate([np.sin(angle), np.cos(angle)]) @ w[f"{name}_embed.mlp.0.weight"].T
        total = total + silu(first + w[f"{name}_embed.mlp.0.bias"]) @ w[f"{name}_embed.mlp.2.weight"].T
        total = total + w[f"{name}_embed.mlp.2.bias"]
    return total


def patches(fields, patch):
    """[C, H, W] to [h, w, C * patch * patch]; rows that fill no patch are dropped."""
    rows, columns = fields.shape[1] // patch, fields.shape[2] // patch
    return np.array(
        [
            [fields[:, r * patch : (r + 1) * patch, c * patch : (c + 1) * patch].ravel() for c in range(columns)]
            for r in range(rows)
        ]
    )


def embed(frames, const, w, config):
    token = w["patch_embed.input_proj.bias"] + w["patch_embed.const_proj.bias"]
    for fields, name in ((frames, "input_proj"), (const, "const_proj")):
        kernel = w[f"patch_embed.{name}.weight"]
        token = token + patches(fields, config.patch) @ kernel.reshape(len(kernel), -1).T
    return norm(token, config) * w["patch_embed.norm.weight"]


def head(token, w, name, patch, height):
    """Transposed convolution of the tokens; rows without a token hold the bias."""
    kernel, bias = w[f"{name}.weight"], w[f"{name}.bias"]
    rows, columns, _ = token.shape
    field = np.broadcast_to(bias[:, None, None], (len(bias), height, columns * patch)).copy()
    for r in range(rows):
        for c in range(columns):
            area = (slice(None), slice(r * patch, (r + 1) * patch), slice(c * patch, (c + 1) * patch))
            field[area] += np.tensordot(token[r, c], kernel, axes=1)
    return field


def trunk(frames, const, clock, w, config, layers):
    """[T * C, H, W] to tokens [h, w, D]; the long residual carries the embedding around the layers."""
    embedded = embed(frames, const, w, config)
    condition = condition_of(clock, w)
    x = embedded
    for layer in range(layers):
        for number in range(config.blocks_per_layer):
            shift = config.window // 2 if number % 2 else 0
            x = block(x, condition, w, f"layers.{layer}.blocks.{number}", config, shift)
    vectors = silu(condition) @ w["norm_layer.scale_shift.1.weight"].T + w["norm_layer.scale_shift.1.bias"]
    scale, shift = np.split(vectors, 2)
    return norm(x, config) * (1 + scale) + shift + embedded
