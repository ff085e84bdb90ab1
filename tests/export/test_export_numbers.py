"""Numbers and ranges of the command line."""

import pytest

from fuxi_ens.errors import UserError
from fuxi_ens.export.numbers import read_numbers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", [7]),
        ("0-3", [0, 1, 2, 3]),
        ("12, 0-2", [0, 1, 2, 12]),
        ("24-96/24", [24, 48, 72, 96]),
        ("6-20/6", [6, 12, 18]),
        ("1,1,0-1", [0, 1]),
    ],
)
def test_numbers_and_ranges(text, expected):
    assert read_numbers(text, "--leads") == expected


@pytest.mark.parametrize("text", ["", "a", "3-1", "1-", "-1", "1-5/0", "1;2", "1.5"])
def test_anything_else_is_refused_with_the_option(text):
    with pytest.raises(UserError, match="--leads"):
        read_numbers(text, "--leads")
