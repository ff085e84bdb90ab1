"""Windowed attention: partition, rotary positions, and equality with a brute-force twin on the sphere's tokens."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_network import attention, turn, weights_of

from fuxi_ens.model.attention import (
    WindowAttention,
    WindowTables,
    from_windows,
    rotary_table,
    rotate,
    shift_mask,
    to_windows,
)


def tables(token_grid, window, shift, batch=1):
    cos, sin = rotary_table(window * window, 4)
    mask = shift_mask(token_grid, window, shift)[:, None].repeat(batch, 1, 1, 1)
    return WindowTables(cos[:, None], sin[:, None], mask)


@settings(deadline=None, max_examples=40)
@given(
    batch=st.integers(1, 3),
    rows=st.integers(1, 4),
    columns=st.integers(1, 4),
    window=st.integers(1, 4),
    width=st.integers(1, 3),
)
def test_windows_and_back_is_the_identity(batch, rows, columns, window, width):
    shape = (batch, rows * window, columns * window, width)
    x = torch.arange(torch.Size(shape).numel(), dtype=torch.float32).view(shape)
    windows = to_windows(x, window)
    assert windows.shape == (batch, rows * columns, window * window, width)
    assert torch.equal(from_windows(windows, shape[1:3], window), x)


def test_windows_run_row_by_row_and_so_do_their_tokens():
    x = torch.arange(4 * 6, dtype=torch.float32).view(1, 4, 6, 1)
    windows = to_windows(x, 2)[0, :, :, 0].int().tolist()
    assert windows[0] == [0, 1, 6, 7]
    assert windows[1] == [2, 3, 8, 9]
    assert windows[3] == [12, 13, 18, 19]


def test_unshifted_attention_needs_no_mask(rng):
    module, x = WindowAttention(8, 2, 2, shift=0), torch.randn(1, 4, 4, 8, generator=rng)
    assert not shift_mask((4, 4), 2, 0).any()
    without = tables((4, 4), 2, 1)._replace(mask=None)
    assert torch.equal(module(x, without), module(x, tables((4, 4), 2, 1)))


def test_rotary_logits_depend_on_the_difference_of_positions_only(rng):
    q, k = torch.randn(2, 8, generator=rng)
    cos, sin = rotary_table(40, 8)
    logits = rotate(q.expand(40, 8), cos, sin) @ rotate(k.expand(40, 8), cos, sin).T
    for difference in (0, 1, 7, -3):
        diagonal = logits.diagonal(difference)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=0, atol=2e-5)
    assert (logits[0, 0] - logits[0, 5]).abs() > 1e-3


def test_rotary_turns_interleaved_pairs_with_base_10000(rng):
    x = torch.randn(12, 8, generator=rng)
    expected = np.stack([turn(row.double().numpy(), position) for position, row in enumerate(x)])
    np.testing.assert_allclose(rotate(x, *rotary_table(12, 8)).numpy(), expected, atol=1e-6)


def test_rotary_keeps_lengths_and_leaves_position_zero_alone(rng):
    x = torch.randn(12, 8, generator=rng)
    turned = rotate(x, *rotary_table(12, 8))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(turned[0], x[0])


@pytest.mark.parametrize(
    ("rows", "columns", "window", "shift"),
    [(4, 8, 2, 0), (4, 8, 2, 1), (6, 6, 3, 0), (6, 6, 3, 1), (6, 6, 3, 2), (8, 4, 4, 2)],
)
def test_attention_equals_its_brute_force_twin(rng, rows, columns, window, shift):
    module = WindowAttention(8, 2, window, shift)
    x = torch.randn(2, rows, columns, 8, generator=rng)
    got = module(x, tables((rows, columns), window, shift, batch=2)).detach().numpy()
    for element in range(2):
        twin = attention(x[element].double().numpy(), _named(module), "attn", heads=2, window=window, shift=shift)
        np.testing.assert_allclose(got[element], twin, atol=2e-6)


def _named(module):
    return {f"attn.{key}": value for key, value in weights_of(module).items()}


@pytest.mark.parametrize("shift", [0, 1])
def test_influence_crosses_greenwich_in_shifted_blocks_and_never_a_pole(rng, shift):
    module, shared = WindowAttention(8, 2, 2, shift), tables((4, 8), 2, shift)
    x = torch.randn(1, 4, 8, 8, generator=rng)
    base = module(x, shared)

    def reached(row, column):
        changed = x.clone()
        changed[0, row, column] += 1.0
        return {
            tuple(place) for place in (module(changed, shared) - base)[0].abs().amax(-1).gt(1e-6).nonzero().tolist()
        }

    assert ((0, 7) in reached(0, 0)) == bool(shift)
    north, south = reached(0, 3), reached(3, 3)
    assert {row for row, _ in north} == ({0} if shift else {0, 1})
    assert {row for row, _ in south} == ({3} if shift else {2, 3})


def test_attention_weights_are_those_of_a_softmax(rng):
    module = WindowAttention(8, 2, 2, shift=1)
    x = torch.randn(1, 1, 1, 8, generator=rng).expand(1, 4, 8, 8)
    # All tokens equal: whatever the weights, a mean of equal values is that value.
    torch.testing.assert_close(module(x, tables((4, 8), 2, 1)), module.wo(module.wv(x)))
