"""Kernel CRPS of an ensemble as a loss (model.md 3.2; Zamo & Naveau 2018; Lang et al. 2024 for the almost-fair form).

CRPS = mean_m |x_m - y| - c * sum_mn |x_m - x_n| with c = 1 / (2 M^2) (standard) or 1 / (2 M (M - 1)) (fair).
"""

import math
from typing import get_args

import torch
from torch import Tensor

from fuxi_ens.config import ALMOST_FAIR_ALPHA, Estimator
from fuxi_ens.losses.pairs import PairScore


def spread_factor(members: int, estimator: Estimator, alpha: float) -> float:
    """Factor c of the pair sum. Raises ValueError for a fair CRPS of one member, which is undefined."""
    if estimator not in get_args(Estimator):
        raise ValueError(f"unknown estimator {estimator!r}; use one of {get_args(Estimator)}")
    standard = 0.5 / members**2
    if estimator == "standard":
        return standard
    if members < 2:
        raise ValueError(f"the {estimator} CRPS needs at least 2 members, got {members}; use 'standard'")
    fair = 0.5 / (members * (members - 1))
    return fair if estimator == "fair" else alpha * fair + (1.0 - alpha) * standard


def ensemble_crps(
    ensemble: Tensor,
    target: Tensor,
    estimator: Estimator = "almost_fair",
    alpha: float = ALMOST_FAIR_ALPHA,
    member_dim: int = 1,
) -> Tensor:
    """CRPS per point in float32, float64 for float64; the result has the shape of `target`.

    NaN in a member or the target gives NaN. The derivative between equal values is 0.

    Args:
        ensemble: Members along `member_dim`, the other dimensions as in `target`.
        target: Truth.
        estimator: `fair` is unbiased in the member count, `standard` is the score of the empirical distribution,
            `almost_fair` is alpha * fair + (1 - alpha) * standard.
        alpha: Weight of the fair part.
        member_dim: Dimension of `ensemble` that holds the members.
    """
    dim = member_dim % ensemble.ndim
    shape = ensemble.shape
    points = shape[:dim] + shape[dim + 1 :]
    assert target.shape == points, f"members of shape {tuple(points)} against a target of {tuple(target.shape)}"
    factor = spread_factor(shape[dim], estimator, alpha)
    outer, inner = math.prod(shape[:dim]), math.prod(shape[dim + 1 :])
    with torch.autocast(target.device.type, enabled=False):
        score: Tensor = PairScore.apply(  # type: ignore[no-untyped-call]
            ensemble.reshape(outer, shape[dim], inner), target.reshape(outer, inner), factor
        )
    return score.view(target.shape)
