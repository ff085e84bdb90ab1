"""The explanations in the report: one paragraph per section, for a reader who is no specialist."""

from typing import Final

SCORECARD: Final = (
    "The continuous ranked probability score, CRPS, of every system. The color is the difference from the reference in "
    "the first row, in percent: blue is better, red is worse, gray is within one percent."
)
DIFFERENCE: Final = (
    "CRPS relative to {reference}; below zero is better. The band is the {percent}\N{NO-BREAK SPACE}% confidence "
    "interval of the mean difference over init times, which allows for the memory of one init time in the next. Where "
    "it reaches zero, the difference can be chance."
)
CRPS: Final = (
    "The integrated squared difference between the distribution functions of forecast and observation, in the units "
    "of the quantity. Lower is better. For a single forecast such as persistence it is the absolute error."
)
SKILL: Final = (
    "The part of climatology's CRPS that the forecast removes. One is a perfect forecast; at zero the "
    "forecast knows no more than the time of year."
)
SPREAD: Final = (
    "In a reliable ensemble the spread grows like the error of the ensemble mean; with M members the dashed curve "
    "lies below the solid one by the factor sqrt(M / (M + 1)) only. Their ratio below, corrected by that factor, is "
    "then one; smaller means too sure of itself."
)
DIFFERENCE_MAPS: Final = (
    "Mean CRPS of the forecast minus that of {reference} at each point; blue is better, each map has its own colors. "
    "Dots mark points where the difference is significant: two tests that allow for the memory of one init time in the "
    "next agree, with {percent}\N{NO-BREAK SPACE}% of false discoveries among the dots of a map. Init times: {count}."
)
MAPS: Final = "One example, not a score. A useful spread is large where the error of the ensemble mean turns out large."
PLUME: Final = (
    "One example, not a score. Thin lines are members, the bands hold 90 and 50 percent of them, black "
    "is what happened."
)
RANKS: Final = (
    "How often the truth falls between which members, as a multiple of the uniform frequency. The line "
    "is what a reliable ensemble gives; a U means too little spread, a hump too much, a slope a bias."
)
RELIABILITY: Final = (
    "How often an event happened when it was forecast with a given probability. On the diagonal the probability can be "
    "taken at its word; a flatter line is too sure of itself. Bars about the diagonal hold 95\N{NO-BREAK SPACE}% of "
    "the points of a forecast that is reliable, judged by the scatter of init times; a point outside of its bar is "
    "more than chance. The inset shows how the forecasts share the probabilities, from 0.1\N{NO-BREAK SPACE}% to all "
    "of them."
)
ROC: Final = (
    "Who warns when at least so many members are in the event hits some events and gives some false alarms; one point "
    "for each number of members. The nearer to the upper left corner the better; on the diagonal warnings know "
    "nothing. Calibration does not matter here."
)
VALUE: Final = (
    "What a user gains who can protect at a cost against a loss: 1 with a perfect forecast, 0 by knowing only how "
    "often the event happens. Each user takes the best number of members for their ratio of cost and loss."
)
SPECTRA: Final = (
    "Variance by scale: large degrees are small scales. Members should have the power of the truth; below it they are "
    "too smooth. The ensemble mean loses power where members disagree, as it should."
)
NUMBERS: Final = "CRPS by lead time; lower is better, the lowest of each quantity and day is in color."
