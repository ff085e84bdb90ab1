"""Names of the events "above a high quantile of the climatology" and "below a low one"."""


def is_above(quantile: float) -> bool:
    """Whether the event lies above the quantile: high quantiles are exceeded, low ones undercut."""
    return quantile > 0.5


def label(quantile: float) -> str:
    """`above_q90`, `below_q2`."""
    return f"{'above' if is_above(quantile) else 'below'}_q{100 * quantile:g}"


def labels(quantiles: tuple[float, ...]) -> list[str]:
    """One label per quantile."""
    return [label(quantile) for quantile in quantiles]


def probability(quantile: float) -> float:
    """How often the event occurs in the climatology."""
    return 1.0 - quantile if is_above(quantile) else quantile
