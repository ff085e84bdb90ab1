"""The network has the released geometry: parameters, keys, mask (model.md 2.2, 2.8, 9.1, 9.5)."""

import pytest
import torch
from model_world import model_config

from fuxi_ens.config import ModelConfig
from fuxi_ens.model import build_model
from fuxi_ens.model.attention import shift_mask
from fuxi_ens.model.summary import summarize


@pytest.fixture(scope="module")
def release():
    return build_model(ModelConfig(), device="meta")


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_release_has_exactly_the_released_number_of_parameters(release):
    assert parameters(release.dist_p) == 654_261_048
    assert parameters(release.decoder) == 1_820_600_910
    assert parameters(release.dist_p) + parameters(release.decoder) == 2_474_861_958


def test_release_takes_no_memory_on_the_meta_device(release):
    assert all(tensor.is_meta for tensor in (*release.parameters(), *release.buffers()))


def test_summary_states_the_released_numbers():
    facts = summarize(ModelConfig())
    assert facts["inference_parameters"] == 2_474_861_958
    assert facts["posterior_parameters"] == facts["prior_parameters"] == 654_261_048
    assert facts["tokens"] == 16_200
    assert facts["inference_weight_bytes"] == 4 * 2_474_861_958


def released_keys(layers, heads):
    for embedding in ("input_proj.weight", "input_proj.bias", "const_proj.weight", "const_proj.bias", "norm.weight"):
        yield f"patch_embed.{embedding}"
    for scalar in ("step", "hour", "doy"):
        yield from (f"{scalar}_embed.mlp.{i}.{kind}" for i in (0, 2) for kind in ("weight", "bias"))
    for layer in range(layers):
        for block in range(7):
            prefix = f"layers.{layer}.blocks.{block}"
            yield from (f"{prefix}.adaln.1.{kind}" for kind in ("weight", "bias"))
            yield from (f"{prefix}.attn.{name}.weight" for name in ("wq", "wk", "wv", "wo"))
            yield from (f"{prefix}.mlp.{name}.weight" for name in ("fc1", "fc2"))
    yield from (f"norm_layer.scale_shift.1.{kind}" for kind in ("weight", "bias"))
    yield from (f"{head}.{kind}" for head in heads for kind in ("weight", "bias"))


def test_keys_are_those_of_the_released_checkpoint_and_no_others(release):
    expected = {"mean", "std", "const"}
    expected |= {f"dist_p.{key}" for key in released_keys(2, ("mean", "logvar"))}
    expected |= {f"decoder.0.{key}" for key in released_keys(6, ("pred_layer.pl_head", "pred_layer.sf_head"))}
    ours = {key for key in release.state_dict() if not key.startswith("dist_q.")} - {"increment_std"}
    assert ours == expected


def test_there_are_498_released_tensors_one_of_them_the_mask_that_we_compute(release):
    ours = [key for key in release.state_dict() if not key.startswith("dist_q.") and key != "increment_std"]
    assert len(ours) == 497
    masks = {tuple(buffer.shape) for name, buffer in release.named_buffers() if name.endswith("mask") and "." in name}
    assert masks == {(50, 1, 324, 324)}


def test_a_network_has_one_mask_and_one_rotary_table(release):
    for network in (release.dist_p, release.dist_q, release.decoder):
        tables = {name: buffer.numel() for name, buffer in network.named_buffers()}
        assert sorted(name.split(".")[-1] for name in tables) == ["cos", "mask", "sin"]
        assert sum(tables.values()) == 50 * 324 * 324 + 2 * 324 * 32


def test_a_network_without_posterior_lacks_nothing_else(release):
    without = build_model(ModelConfig(), "meta", posterior=False).state_dict().keys()
    assert without == {key for key in release.state_dict() if not key.startswith("dist_q.")}


def test_shapes_are_those_of_the_released_checkpoint(release):
    shapes = {key: tuple(value.shape) for key, value in release.state_dict().items()}
    assert shapes["const"] == (6, 721, 1440)
    assert shapes["mean"] == shapes["std"] == (78,)
    for network in ("dist_p", "decoder.0"):
        assert shapes[f"{network}.patch_embed.input_proj.weight"] == (1536, 156, 8, 8)
        assert shapes[f"{network}.patch_embed.const_proj.weight"] == (1536, 6, 8, 8)
        assert shapes[f"{network}.step_embed.mlp.0.weight"] == (1536, 256)
        assert shapes[f"{network}.layers.0.blocks.0.adaln.1.weight"] == (9216, 1536)
        assert shapes[f"{network}.layers.0.blocks.0.mlp.fc1.weight"] == (8192, 1536)
        assert shapes[f"{network}.layers.0.blocks.0.mlp.fc2.weight"] == (1536, 4096)
        assert shapes[f"{network}.norm_layer.scale_shift.1.weight"] == (3072, 1536)
    assert shapes["dist_p.mean.weight"] == shapes["dist_p.logvar.weight"] == (1536, 156, 8, 8)
    assert shapes["decoder.0.pred_layer.pl_head.weight"] == (1536, 65, 8, 8)
    assert shapes["decoder.0.pred_layer.sf_head.weight"] == (1536, 13, 8, 8)


def test_posterior_has_the_shape_of_the_prior_and_its_own_weights(release):
    p = {key: value.shape for key, value in release.dist_p.state_dict().items()}
    assert p == {key: value.shape for key, value in release.dist_q.state_dict().items()}
    tiny = build_model(model_config())
    assert not {id(x) for x in tiny.dist_p.parameters()} & {id(x) for x in tiny.dist_q.parameters()}


def test_release_mask_walls_off_the_pole_in_the_last_row_of_windows_only():
    mask = shift_mask((90, 180), 18, 9)
    assert mask.shape == (50, 324, 324)
    assert set(mask.unique().tolist()) == {0.0, -100.0}
    assert mask.flatten(1).any(dim=1).nonzero().ravel().tolist() == list(range(40, 50))
    # Within such a window, the 9 upper and the 9 lower rows of tokens see only their own half.
    half = torch.arange(324) // 162
    assert torch.equal(mask[40:] == 0, (half[:, None] == half[None, :]).expand(10, 324, 324))


def test_odd_blocks_are_shifted_by_half_a_window(release):
    for network in (release.dist_p, release.decoder[0]):
        for layer in network.layers:
            assert [block.attn.shift for block in layer.blocks] == [0, 9, 0, 9, 0, 9, 0]


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"window": 3}, "window"), ({"width": 15}, "patches"), ({"embedding": 18, "heads": 4}, "head size")],
)
def test_impossible_geometry_is_refused_with_a_remedy(changes, word):
    with pytest.raises(ValueError, match=word):
        model_config(**changes)
