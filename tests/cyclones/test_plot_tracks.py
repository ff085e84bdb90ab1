"""The picture of tracks: what is on it, over the dateline, and what it refuses."""

import sys

import numpy as np
import pytest
from cyclone_world import INIT_TIMES, RULES, along_great_circle, make_config
from matplotlib.colors import to_hex

from fuxi_ens.errors import UserError
from fuxi_ens.paths import RunPaths
from fuxi_ens.plot.tracks import draw_tracks, file_name, open_storm
from fuxi_ens.times import hours
from fuxi_ens.verify.cyclones.best_tracks import BestTrack
from fuxi_ens.verify.cyclones.tracks import _dataset
from fuxi_ens.verify.files import statistics_path, write_statistics
from pipelines.__main__ import main

START = (16.0, 176.0)
LEADS = hours(6) * np.arange(1, 21)


@pytest.fixture
def folder(tmp_path):
    """Twelve members that fan out over the dateline; the last is lost after two days."""
    steps = np.arange(21)
    latitude, longitude = along_great_circle(START, 80.0, 110.0 * steps)
    storm = BestTrack("2018250N12170", "NAMELESS", INIT_TIMES[0] + hours(6) * steps, latitude, longitude)
    centers = np.full((3, 1, 12, 20), 99000.0)
    for member, azimuth in enumerate(np.linspace(55.0, 100.0, 12)):
        centers[:2, 0, member] = along_great_circle(START, azimuth, 105.0 * steps[1:])
    centers[:, 0, -1, 8:] = np.nan
    data = _dataset(centers, INIT_TIMES[0], LEADS, [storm], np.array([START]))
    paths = RunPaths(tmp_path)
    path = statistics_path(paths.cyclones / "tracks", "ours", INIT_TIMES[0])
    write_statistics(path, data.assign_attrs(system="ours", role="forecast", config_hash="a"))
    return paths.cyclones


def test_members_mean_and_best_track_are_drawn_without_a_seam(folder):
    figure = draw_tracks(open_storm(folder, "ours", INIT_TIMES[0], "NAMELESS", RULES))
    lines = figure.axes[0].get_lines()
    assert len(lines) == 12 + 2 + 2
    for line in lines:
        assert np.nanmax(np.abs(np.diff(line.get_xdata()))) < 5.0
    mean = next(line for line in lines if to_hex(line.get_color()) == "#0072b2")
    assert len(mean.get_xdata()) == 21
    assert np.isnan(lines[11].get_xdata()).sum() == 12
    assert "NAMELESS (2018250N12170), ours" in figure.get_suptitle()
    assert "within 120 km in the first 120 h" in figure.axes[1].get_xlabel()


def test_what_is_not_there_is_told(folder):
    with pytest.raises(UserError, match=r"no tracks of ours from 2018-09-14T12:00; there are 2018-09-14T00"):
        open_storm(folder, "ours", INIT_TIMES[1], "NAMELESS", RULES)
    with pytest.raises(UserError, match="no storm 'X' in .*; there are 2018250N12170, NAMELESS"):
        open_storm(folder, "ours", INIT_TIMES[0], "X", RULES)
    with pytest.raises(UserError, match="events cyclones` first"):
        open_storm(folder, "theirs", INIT_TIMES[0], "X", RULES)


def test_the_command_writes_a_picture(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "c.yaml").write_text(make_config(tmp_path).model_dump_json())
    command = ["plot", "tracks", str(tmp_path / "c.yaml"), "--storm", "2018250N12170", "--init", "2018-09-14"]
    monkeypatch.setattr(sys, "argv", ["fuxi-ens", *command])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert (stopped.value.code or 0) == 0, capsys.readouterr().err
    shown = open_storm(folder, "ours", INIT_TIMES[0], "NAMELESS", RULES)
    picture = RunPaths(tmp_path).report / file_name(shown)
    assert picture.name == "tracks_ours_2018250N12170_2018091400.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
