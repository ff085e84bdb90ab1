"""What scores are called, in which units they come, and which way is better."""

from dataclasses import dataclass
from typing import Final, Literal

from fuxi_ens.plot.style import DisplayUnits, display_units

Better = Literal["lower", "higher", "one", "none"]
"""`one`: the nearer to 1 the better; `none`: a description, not a judgment."""


@dataclass(frozen=True, slots=True)
class ScoreWords:
    """How one score is shown."""

    label: str
    better: Better
    dimensional: bool = False
    """In the units of the scored name; else a pure number."""


_WORDS: Final = {
    "crps": ScoreWords("CRPS", "lower", dimensional=True),
    "rmse": ScoreWords("RMSE of the ensemble mean", "lower", dimensional=True),
    "mae": ScoreWords("MAE of the ensemble mean", "lower", dimensional=True),
    "bias": ScoreWords("Bias of the ensemble mean", "none", dimensional=True),
    "spread": ScoreWords("Spread", "none", dimensional=True),
    "spread_skill_ratio": ScoreWords("Spread-skill ratio", "one"),
    "crpss_climatology": ScoreWords("CRPS skill over climatology", "higher"),
    "acc": ScoreWords("Anomaly correlation", "higher"),
}
# The longest beginning of a name decides, for families of scores such as those of several thresholds.
_BEGINNINGS: Final = {
    "crps_": ScoreWords("CRPS", "lower", dimensional=True),
    "crpss_": ScoreWords("CRPS skill", "higher"),
    "rmse_": ScoreWords("RMSE", "lower", dimensional=True),
    "twcrps": ScoreWords("Threshold-weighted CRPS", "lower", dimensional=True),
    "acc_": ScoreWords("Anomaly correlation", "higher"),
    "seeps": ScoreWords("SEEPS", "lower"),
    "brier": ScoreWords("Brier score", "lower"),
    "brier_skill": ScoreWords("Brier skill", "higher"),
    "roc_area": ScoreWords("Area under ROC", "higher"),
    "reliability": ScoreWords("Reliability term", "lower"),
    "resolution": ScoreWords("Resolution term", "higher"),
    "energy_score": ScoreWords("Energy score", "lower"),
    "variogram_score": ScoreWords("Variogram score", "lower"),
    "spread_skill_ratio_": ScoreWords("Spread-skill ratio", "one"),
}
_NO_UNITS: Final = DisplayUnits("")


def score_words(score: str) -> ScoreWords:
    """How a score is shown; one that is not known is a pure number without a better direction."""
    if score in _WORDS:
        return _WORDS[score]
    known = max((start for start in _BEGINNINGS if score.startswith(start)), key=len, default="")
    rest = score.removeprefix(known).strip("_").replace("_", " ")
    if not known:
        return ScoreWords(rest, "none")
    words = _BEGINNINGS[known]
    return ScoreWords(f"{words.label}, {rest}" if rest else words.label, words.better, words.dimensional)


def score_units(score: str, name: str) -> DisplayUnits:
    """Units in which a score of `name` is shown."""
    return display_units(name) if score_words(score).dimensional else _NO_UNITS
