"""Synthetic fields that compress as archived analyses do, for benchmarks of reading."""

import numpy as np


def synthetic_field(rng: np.random.Generator, shape: tuple[int, int], mean: float, spread: float) -> np.ndarray:
    """A field with the slope of the atmosphere's spectrum, packed to 16 bits as archives do: compresses like ERA5."""
    rows, columns = shape
    k = np.hypot(np.fft.fftfreq(rows, 1 / rows)[:, None], np.fft.rfftfreq(columns, 1 / columns)[None])
    amplitude = (1 + k) ** -2.5 * (k < 300)
    spectrum = amplitude * np.exp(2j * np.pi * rng.random(k.shape))
    field = np.fft.irfft2(spectrum, (rows, columns))
    field *= spread / field.std()
    return packed(field + mean)


def packed(field: np.ndarray) -> np.ndarray:
    """float32 with no more than 65536 values between the least and the largest."""
    low = field.min()
    step = np.ptp(field) / 65535
    return (low + np.round((field - low) / step) * step).astype(np.float32)
