"""Diagrams of probabilities and scales show the curves of verification."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from fuxi_ens.plot.compose import Evidence, _diagram_sections
from fuxi_ens.plot.diagrams import spectra
from fuxi_ens.plot.event_diagrams import event_kinds, reliability_diagrams, roc_diagrams, value_diagrams
from fuxi_ens.plot.style import ROLE_STYLES
from fuxi_ens.times import hours

STYLES = {"fuxi_ens": ROLE_STYLES["forecast"], "physics_ensemble": ROLE_STYLES["baseline"]}
CLASSES = np.arange(10)


def curves_of(skew: float) -> xr.Dataset:
    """As of `verify.scorecard.curves`: two names, of which one has no event and no spectrum; one lead time."""
    probability = (CLASSES + 0.5) / 10

    def spread(values: np.ndarray, dim: str = "probability_class") -> tuple[tuple[str, ...], np.ndarray]:
        result = np.full((2, 1, 1, 2, len(values)), np.nan)
        result[0] = values
        return ("name", "lead_time", "region", "quantile_event", dim), result

    warned = np.linspace(0, 1, 22)

    degree = np.arange(1, 33)
    power = np.stack([degree**-3.0, np.full(32, np.nan)])[:, None]
    spectrum = ("name", "lead_time", "degree")
    return xr.Dataset(
        {
            "quantile_event_reliability_forecast_probability": spread(probability),
            "quantile_event_reliability_observed_frequency": spread(probability * skew),
            "quantile_event_reliability_weight": spread(0.5 ** np.arange(1, 11)),
            "quantile_event_reliability_consistency": spread(np.full(10, 0.05)),
            "quantile_event_roc_hit_rate": spread(warned**0.3 * skew, "threshold"),
            "quantile_event_roc_false_alarm_rate": spread(warned, "threshold"),
            "quantile_event_relative_value": spread(np.full(4, skew / 2), "cost_loss"),
            "power_members": (spectrum, power * skew),
            "power_mean": (spectrum, power * skew / 2),
            "power_truth": (spectrum, power),
        },
        {
            "name": ["z500", "tp"],
            "lead_time": [hours(120)],
            "region": ["global"],
            "quantile_event": ["above_q90", "above_q95"],
            "probability_class": CLASSES,
            "degree": degree,
            "threshold": np.arange(21, -1, -1),
            "cost_loss": [0.01, 0.1, 0.5, 0.9],
        },
    )


CURVES = {"fuxi_ens": curves_of(0.9), "physics_ensemble": curves_of(0.8)}


def test_a_reliability_diagram_has_rows_of_events_and_only_names_with_events() -> None:
    figure = reliability_diagrams(CURVES, STYLES, "quantile_event", "global", hours(120))
    # Of one name the events lie side by side.
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["above q90", "above q95"]
    assert figure.axes[0].get_ylabel() == "Z500\nobserved"
    ours, theirs = (line for line in figure.axes[0].lines if line.get_marker() == "o")
    np.testing.assert_allclose(ours.get_ydata(), 0.9 * np.asarray(ours.get_xdata()))
    np.testing.assert_allclose(theirs.get_ydata(), 0.8 * np.asarray(theirs.get_xdata()))


def test_bars_lie_about_the_diagonal_and_insets_show_the_shares() -> None:
    axes = reliability_diagrams(CURVES, STYLES, "quantile_event", "global", hours(120)).axes[0]
    bars = np.array(axes.collections[0].get_segments())
    assert bars.shape == (10, 2, 2)
    np.testing.assert_allclose(bars[:, :, 1] - bars[:, :, 0], [[-0.05, 0.05]] * 10, atol=1e-12)
    (inset,) = axes.child_axes
    np.testing.assert_allclose(inset.patches[0].get_data().values, 0.5 ** np.arange(1, 11))


def test_roc_and_value_have_a_line_per_system() -> None:
    roc = roc_diagrams(CURVES, STYLES, "quantile_event", "global", hours(120)).axes[0]
    _, ours, _ = roc.lines
    np.testing.assert_allclose(ours.get_ydata(), 0.9 * np.asarray(ours.get_xdata()) ** 0.3)
    value = value_diagrams(CURVES, STYLES, "quantile_event", "global", hours(120)).axes[1]
    assert [set(line.get_ydata()) for line in value.lines] == [{0.45}, {0.4}]
    assert value.get_xlabel() == "cost / loss"
    assert value.get_title(loc="left") == "above q95"


def test_of_many_events_four_are_drawn_from_end_to_end() -> None:
    seven = {
        system: xr.concat(
            [data.isel(quantile_event=[0]).assign_coords(quantile_event=[f"above_q{n}"]) for n in range(7)],
            "quantile_event",
            data_vars="minimal",
        )
        for system, data in CURVES.items()
    }
    figure = value_diagrams(seven, STYLES, "quantile_event", "global", hours(120))
    shown = [axes.get_title(loc="left") for axes in figure.axes]
    assert shown == ["above q0", "above q2", "above q4", "above q6"]


def test_of_many_names_events_are_rows() -> None:
    many = {
        system: xr.concat([data.isel(name=[0]).assign_coords(name=[name]) for name in ("z500", "t850", "t2m")], "name")
        for system, data in CURVES.items()
    }
    figure = roc_diagrams(many, STYLES, "quantile_event", "global", hours(120))
    assert len(figure.axes) == 6
    assert [axes.get_title(loc="left") for axes in figure.axes[:3]] == ["Z500", "T850", "T2M"]
    assert [axes.get_ylabel() for axes in figure.axes[::3]] == ["above q90\nhits", "above q95\nhits"]


def test_spectra_show_truth_members_and_mean_of_every_system() -> None:
    figure = spectra(CURVES, STYLES, hours(120))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Geopotential at 500 hPa"]
    truth, members, mean = figure.axes[0].lines[:3]
    np.testing.assert_allclose(members.get_ydata(), 0.9 * np.asarray(truth.get_ydata()))
    np.testing.assert_allclose(mean.get_ydata(), 0.45 * np.asarray(truth.get_ydata()))
    assert [text.get_text() for text in figure.legends[0].get_texts()][:2] == ["fuxi_ens", "physics ensemble"]


def test_a_report_has_the_diagrams_that_the_statistics_hold(evidence: Evidence) -> None:
    sections = _diagram_sections(replace(evidence, curves=CURVES))
    assert [section.anchor for section in sections] == ["reliability", "roc", "value", "spectra"]
    only = {system: data.drop_vars([name for name in data if "power" in str(name)]) for system, data in CURVES.items()}
    assert [section.anchor for section in _diagram_sections(replace(evidence, curves=only))] == [
        "reliability",
        "roc",
        "value",
    ]


def test_a_system_without_the_lead_time_is_left_out(evidence: Evidence) -> None:
    later = CURVES["physics_ensemble"].assign_coords(lead_time=[hours(126)])
    sections = _diagram_sections(replace(evidence, curves={**CURVES, "physics_ensemble": later}))
    legend = sections[0].pictures[0].figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["fuxi_ens"]


@pytest.mark.parametrize("curves", [{}, {"fuxi_ens": xr.Dataset()}])
def test_statistics_without_events_have_no_kind(curves: dict[str, xr.Dataset]) -> None:
    assert event_kinds(curves, "global", hours(120)) == ()


def test_what_holds_no_value_is_not_drawn(evidence: Evidence) -> None:
    gaps = {system: data.where(data["name"] == "tp") for system, data in CURVES.items()}
    assert event_kinds(gaps, "global", hours(120)) == ()
    assert _diagram_sections(replace(evidence, curves=gaps)) == []
