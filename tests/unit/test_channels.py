import numpy as np
import pytest
from makers import instant, six_hour_sum, times

from fuxi_ens.channels import (
    CHANNELS_78,
    DERIVED_SPEED,
    HEADLINE,
    LEVELS_13,
    SURFACE,
    UPPER_AIR,
    channel,
    components,
    file_units,
    in_tensor_order,
    is_channel,
    upper_air_count,
)
from fuxi_ens.grid import LatLonGrid

PUBLISHED_LEVELS = (50, 100, 150, 200, 250, 300, 400, 500, 600, 700, 850, 925, 1000)
PUBLISHED_SURFACE = ["t2m", "d2m", "sst", "u10m", "v10m", "u100m", "v100m", "msl", "ssr", "ssrd", "fdir", "ttr", "tp"]


def test_the_78_channels_are_the_published_ones_in_the_published_order():
    upper = [f"{letter}{level}" for letter in "ztuvq" for level in PUBLISHED_LEVELS]
    assert list(CHANNELS_78) == upper + PUBLISHED_SURFACE


@pytest.mark.parametrize(
    ("index", "name"),
    [
        (0, "z50"),
        (7, "z500"),
        (12, "z1000"),
        (13, "t50"),
        (23, "t850"),
        (25, "t1000"),
        (26, "u50"),
        (38, "u1000"),
        (39, "v50"),
        (51, "v1000"),
        (52, "q50"),
        (64, "q1000"),
        (65, "t2m"),
        (67, "sst"),
        (72, "msl"),
        (73, "ssr"),
        (76, "ttr"),
        (77, "tp"),
    ],
)
def test_channels_have_the_indices_of_the_release(index, name):
    assert CHANNELS_78[index] == name


@pytest.mark.parametrize(
    ("name", "factor", "units"),
    [
        ("q500", 1e3, "g kg**-1"),
        ("tp", 1e3, "mm"),
        ("ssr", 1 / 3600, "W h m**-2"),
        ("ssrd", 1 / 3600, "W h m**-2"),
        ("fdir", 1 / 3600, "W h m**-2"),
        ("ttr", 1 / 3600, "W h m**-2"),
        ("z500", 1.0, "m**2 s**-2"),
        ("t2m", 1.0, "K"),
        ("msl", 1.0, "Pa"),
        ("u100m", 1.0, "m s**-1"),
    ],
)
def test_model_units_are_those_of_the_release(name, factor, units):
    variable = channel(name).variable
    assert variable.to_model == pytest.approx(factor, rel=1e-15)
    assert variable.model_units == units


def test_only_the_last_five_channels_are_outputs_alone_and_accumulated():
    special = [name for name in CHANNELS_78 if not channel(name).variable.input]
    assert special == list(CHANNELS_78[-5:])
    assert special == [name for name in CHANNELS_78 if channel(name).variable.accumulated]
    assert [name for name in CHANNELS_78 if channel(name).variable.transform == "log1p"] == ["tp"]


def test_accumulations_alone_carry_the_suffix_of_their_six_hours():
    for name in CHANNELS_78:
        variable = channel(name).variable
        assert variable.file_name == variable.name + "_6hr" * variable.accumulated


def test_every_channel_finds_itself_and_its_level():
    for name in CHANNELS_78:
        found = channel(name)
        assert found.name == name
        assert name == f"{found.variable.short}{'' if found.level is None else found.level}"
        assert found.level in (None, *LEVELS_13)


@pytest.mark.parametrize("name", ["z501", "z", "z5000", "x500", "u10", "ws10m", "Z500", "z500 ", "", "tp6", "-z500"])
def test_what_is_no_channel_is_refused_by_name(name):
    assert not is_channel(name)
    with pytest.raises(KeyError, match="no channel"):
        channel(name)


@pytest.mark.parametrize("name", ["z0500", "z５００"])
def test_a_level_has_one_spelling(name):
    with pytest.raises(KeyError):
        channel(name)


def test_tensor_order_undoes_any_shuffle(rng):
    for _ in range(20):
        chosen = rng.choice(78, size=11, replace=False)
        names = tuple(CHANNELS_78[i] for i in chosen)
        assert in_tensor_order(names) == tuple(CHANNELS_78[i] for i in sorted(chosen))


def test_upper_air_comes_first_and_is_counted():
    assert upper_air_count(CHANNELS_78) == len(UPPER_AIR) * len(LEVELS_13) == 65
    for name in CHANNELS_78[:65]:
        assert channel(name).level is not None
    assert upper_air_count(("t2m", "tp")) == 0


def test_derived_speeds_are_no_channels_and_need_their_components():
    for name, parts in DERIVED_SPEED.items():
        assert not is_channel(name)
        assert components(name) == parts
        assert all(map(is_channel, parts))
        assert file_units(name) == "m s**-1"
    assert components("z500") == ("z500",)


def test_the_headline_is_six_variables_that_can_be_scored():
    assert len(set(HEADLINE)) == 6
    assert all(is_channel(part) for name in HEADLINE for part in components(name))


def test_short_and_long_names_are_unique():
    variables = (*UPPER_AIR, *SURFACE)
    assert len({v.short for v in variables}) == len({v.name for v in variables}) == len(variables) == 18


PLAUSIBLE = {
    "K": (150, 350),
    "Pa": (8.5e4, 1.12e5),
    "m s**-1": (-150, 150),
    "m**2 s**-2": (-1.5e4, 3.5e5),
    "kg kg**-1": (0, 0.05),
    "J m**-2": (-1.2e7, 3e7),
    "m": (0, 1.1),
}


def test_the_synthetic_world_is_physically_possible():
    grid, when = LatLonGrid(8, 16), times("2018-01-01", "2018-01-10")
    for name in CHANNELS_78:
        variable = channel(name).variable
        values = (six_hour_sum if variable.accumulated else instant)(name, when, grid)
        low, high = PLAUSIBLE[variable.file_units]
        assert low <= values.min() <= values.max() <= high, name
        assert np.isfinite(values).all()
