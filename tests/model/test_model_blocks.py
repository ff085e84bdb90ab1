"""Blocks under the hands of training: recomputed, compiled, in bfloat16."""

import pytest
import torch
from model_world import clocks, model_config, random_model

from fuxi_ens.model.block import Block, no_dropout
from fuxi_ens.model.blocks import blocks_of, compile_blocks, recompute_blocks


def gradients(model, x):
    model.zero_grad()
    # A network and its inputs from the same bits each time.
    gaussian = model.prior(x, clocks(2), no_dropout)
    (gaussian.mean.square().sum() + gaussian.logvar.sum()).backward()
    return gaussian.mean.detach(), [p.grad.clone() for p in model.dist_p.parameters()]


def saved_bytes(model, x):
    sizes, kept = {}, []

    def keep(tensor):
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.prior(x, clocks(2), no_dropout)
    return sum(sizes.values())


@pytest.fixture
def model(rng):
    return random_model(model_config(), rng)


@pytest.fixture
def x(rng):
    return torch.randn(2, 2, 9, 8, 16, generator=rng)


def test_every_block_is_found(model):
    # P and Q of 2 layers, the forecast network of 1, of 2 blocks each.
    assert len(list(blocks_of(model))) == 2 * 4 + 2
    assert all(isinstance(block, Block) for block in blocks_of(model))


def test_recomputed_blocks_give_the_same_bits_and_keep_less(model, x):
    plain, plain_gradients = gradients(model, x)
    kept = saved_bytes(model, x)
    recompute_blocks(model)
    again, again_gradients = gradients(model, x)
    assert torch.equal(plain, again)
    assert all(torch.equal(a, b) for a, b in zip(plain_gradients, again_gradients, strict=True))
    assert saved_bytes(model, x) < 0.7 * kept
    recompute_blocks(model, enabled=False)
    assert saved_bytes(model, x) == kept


def test_recomputing_changes_no_key(model):
    before = list(model.state_dict())
    recompute_blocks(model)
    assert list(model.state_dict()) == before


@pytest.mark.parametrize("number", [0, 1])
def test_a_block_in_bfloat16_is_near_float32_and_keeps_its_stream_float32(rng, number):
    config = model_config(embedding=64, heads=4, mlp_hidden=128)
    net = random_model(config, rng).decoder[0]
    block, x, cond = net.layers[0].blocks[number], torch.randn(1, 4, 8, 64, generator=rng), torch.randn(1, 64)
    with torch.no_grad():
        exact = block(x, cond, net.windows(1))
        with torch.autocast("cpu", torch.bfloat16):
            rounded = block(x, cond, net.windows(1))
    change = (exact - x).square().mean().sqrt()
    assert rounded.dtype == torch.float32
    # Eight bits of mantissa: 2^-9 per rounding, a few dozen roundings in a row, errors adding like a random walk.
    assert (rounded - exact).square().mean().sqrt() < 0.02 * change
    assert not torch.equal(rounded, exact)


def test_softmax_and_norms_hold_large_values_in_bfloat16(rng):
    config = model_config(embedding=64, heads=4, mlp_hidden=128)
    net = random_model(config, rng).decoder[0]
    block, cond = net.layers[0].blocks[1], torch.zeros(1, 64)
    # A large mean with small variation: norms in bfloat16 would lose all of it.
    x = 1000.0 + torch.randn(1, 4, 8, 64, generator=rng)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        normed = block.norm(x)
    centered = x - x.mean(-1, keepdim=True)
    expected = centered / (centered.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(normed, expected, rtol=0, atol=1e-3)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert block(x, cond, net.windows(1)).isfinite().all()


# torch's compiler warns of its own doings.
COMPILER = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")


@COMPILER
@pytest.mark.slow
@pytest.mark.parametrize("autocast", [False, True])
def test_a_block_compiles_whole_and_computes_the_same(rng, autocast):
    config = model_config(embedding=32, heads=2, mlp_hidden=64)
    model = random_model(config, rng)
    x = torch.randn(2, 2, 9, 8, 16, generator=rng)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        plain, plain_gradients = gradients(model, x)
        # fullgraph: a graph break raises.
        compile_blocks(model.dist_p)
        before = torch._dynamo.utils.counters["stats"]["calls_captured"]
        compiled, compiled_gradients = gradients(model, x)
    assert torch._dynamo.utils.counters["stats"]["calls_captured"] > before, "nothing was compiled"
    tolerance = {"rtol": 0.05, "atol": 0.05} if autocast else {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(compiled, plain, **tolerance)
    scale = max(g.abs().max() for g in plain_gradients)
    for a, b in zip(compiled_gradients, plain_gradients, strict=True):
        assert (a - b).abs().max() <= tolerance["atol"] * scale


@COMPILER
@pytest.mark.slow
def test_a_recomputed_block_compiles_too(rng):
    model = random_model(model_config(), rng)
    x = torch.randn(2, 2, 9, 8, 16, generator=rng)
    _, plain = gradients(model, x)
    recompute_blocks(model)
    compile_blocks(model.dist_p)
    _, compiled = gradients(model, x)
    for a, b in zip(compiled, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3 * float(b.abs().max()) + 1e-6)
