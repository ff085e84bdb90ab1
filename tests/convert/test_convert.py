"""A small network in the form of the released ONNX file becomes a checkpoint that computes what onnxruntime does."""

import json
import shutil
import warnings

import numpy as np
import pytest
import torch
from model_world import clocks, model_config, physical_frames, random_model
from torch import nn

from fuxi_ens.checkpoint import DESCRIPTION, WEIGHTS, load_checkpoint
from fuxi_ens.convert import convert_onnx
from fuxi_ens.convert.shapes import RELEASE
from fuxi_ens.convert.shapes import model_config as inferred
from fuxi_ens.errors import StoreError, UserError
from fuxi_ens.model import build_model
from fuxi_ens.model.block import no_dropout

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

# An embedding that no other dimension shares, so that a mix-up of dimensions shows.
CONFIG = model_config(height=9, embedding=20, **{**RELEASE, "dropout": 0.0})
DATA = "fuxi_ens.data"
INPUTS = ("input", "step", "hour", "doy", "eps")


class Release(nn.Module):
    """The released graph in plain operations (model.md 2), with its noise as an input; names of tensors as there."""

    def __init__(self, model):
        super().__init__()
        self.dist_p, self.decoder = model.dist_p, model.decoder
        self.register_buffer("mean", model.mean[:, None, None].clone())
        self.register_buffer("std", model.std[:, None, None].clone())
        self.register_buffer("const", model.const)
        self.accumulated = int((~model.input_mask.bool()).sum())

    def without_accumulations(self, x):
        return torch.cat([x[:, :, : -self.accumulated], torch.zeros_like(x[:, :, -self.accumulated :])], dim=2)

    def forward(self, x, step, hour, doy, eps):
        clock = torch.stack([step, hour, doy], -1)
        standard = (x - self.mean) / self.std
        standard = self.without_accumulations(torch.where(torch.isnan(standard), 0.0, standard))
        p = self.dist_p(standard, self.const, clock, no_dropout)
        perturbed = self.without_accumulations(standard + p.mean + torch.exp(p.logvar / 2) * eps)
        y = self.decoder[0](perturbed, self.const, clock) * self.std + self.mean
        precipitation = torch.exp(y[:, -1:].clamp(0.0, 7.0)) - 1.0
        return torch.stack([x[:, -1], torch.cat([y[:, :-1], precipitation], dim=1)], dim=1)


@pytest.fixture(scope="module")
def world():
    """A network, what goes into it, and the feeds by name."""
    rng = torch.Generator().manual_seed(11)
    model, frames = random_model(CONFIG, rng), physical_frames(CONFIG, 1, rng)
    clock, eps = clocks(1), torch.randn(frames.shape, generator=rng)
    return model, (frames, clock[:, 0], clock[:, 1], clock[:, 2], eps)


def export(world, folder, *, folded):
    """The network as ONNX with its weights in a file beside it, as the release has them."""
    model, arguments = world
    plain = folder / "plain.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Release(model), arguments, str(plain), input_names=list(INPUTS), output_names=["output"], opset_version=17,
            dynamo=False, do_constant_folding=folded,
        )  # fmt: skip
    graph = onnx.load(plain)
    plain.unlink()
    if folded:
        _rename_static_fields(graph.graph)
    path = folder / "fuxi_ens.onnx"
    onnx.save(graph, path, save_as_external_data=True, location=DATA, size_threshold=1024)
    return path


def _rename_static_fields(graph):
    """Folding gives the static fields a batch dimension and another name; the release kept the name."""
    (folded,) = [i for i in graph.initializer if tuple(i.dims) == (1, 6, 9, 16)]
    for node in graph.node:
        node.input[:] = ["const" if name == folded.name else name for name in node.input]
    folded.name = "const"


@pytest.fixture(scope="module", params=[False, True], ids=["named", "transposed"])
def source(request, world, tmp_path_factory):
    return export(world, tmp_path_factory.mktemp("release"), folded=request.param)


@pytest.fixture(scope="module")
def exported(world, tmp_path_factory):
    return export(world, tmp_path_factory.mktemp("named"), folded=False).parent


@pytest.fixture
def named(exported, tmp_path):
    """A copy to spoil."""
    for file in exported.iterdir():
        shutil.copy(file, tmp_path)
    return tmp_path / "fuxi_ens.onnx"


def run(path, arguments):
    feeds = {name: value.numpy() for name, value in zip(INPUTS, arguments, strict=True)}
    return onnxruntime.InferenceSession(path).run(["output"], feeds)[0]


def test_the_converted_network_equals_onnxruntime(source, world, tmp_path):
    _, (frames, step, hour, doy, eps) = world
    reference = run(source, (frames, step, hour, doy, eps))
    done = convert_onnx(source, tmp_path / "model", CONFIG)
    model = load_checkpoint(tmp_path / "model").model
    with torch.no_grad():
        got = model.step(frames, torch.stack([step, hour, doy], -1), eps, no_dropout).numpy()
    assert np.array_equal(np.isnan(got), np.isnan(reference))
    np.testing.assert_allclose(got, reference, rtol=1e-5, atol=1e-5)
    assert done.parameters == sum(p.numel() for net in (model.dist_p, model.decoder) for p in net.parameters())


def test_every_tensor_arrives_with_its_bits(source, world, tmp_path):
    convert_onnx(source, tmp_path / "model", CONFIG)
    got, expected = load_checkpoint(tmp_path / "model").model.state_dict(), world[0].state_dict()
    for name, value in got.items():
        assert torch.equal(value, torch.ones(9) if name == "increment_std" else expected[name]), name


def test_both_ways_of_storing_matrices_were_tried(source):
    names = {i.name for i in onnx.load(source, load_external_data=False).graph.initializer}
    squares = {name for name in names if ".attn." in name}
    assert len(squares) == (4 * 6 if "onnx::" not in "".join(names) else 0)


def test_the_checkpoint_has_no_posterior_and_says_where_it_comes_from(named, tmp_path):
    convert_onnx(named, tmp_path / "model", CONFIG)
    description = json.loads((tmp_path / "model" / DESCRIPTION).read_text())
    assert description["provenance"]["converted_from"] == "fuxi_ens.onnx"
    assert description["step_size_hours"] == 6
    assert "dist_q" not in (tmp_path / "model" / WEIGHTS).read_bytes()[:20000].decode("latin-1")
    with pytest.raises(StoreError, match="dist_q"):
        load_checkpoint(tmp_path / "model", posterior=True)


def test_a_finished_model_is_not_overwritten(named, tmp_path):
    convert_onnx(named, tmp_path / "model", CONFIG)
    with pytest.raises(UserError, match="holds a model already"):
        convert_onnx(named, tmp_path / "model", CONFIG)


def edited(path, change):
    """The graph file after `change(graph)`; the weights file stays as it is."""
    graph = onnx.load(path, load_external_data=False)
    change(graph.graph)
    path.write_bytes(graph.SerializeToString())
    return path


def refused(path, folder, message, error=StoreError):
    with pytest.raises(error, match=message):
        convert_onnx(path, folder / "model", CONFIG)
    assert not (folder / "model").exists(), "nothing may be written"


def tensor(graph, name):
    (found,) = [i for i in graph.initializer if i.name == name]
    return found


WQ = "dist_p.layers.0.blocks.0.attn.wq.weight"
FC1 = "decoder.0.layers.0.blocks.1.mlp.fc1.weight"


def test_a_missing_tensor_is_named(named, tmp_path):
    path = edited(named, lambda g: g.initializer.remove(tensor(g, WQ)))
    refused(path, tmp_path, rf"missing: {WQ} \[20, 20\]")


def test_an_unexpected_tensor_is_named(named, tmp_path):
    def add(graph):
        graph.initializer.append(onnx.numpy_helper.from_array(np.ones((3, 5), np.float32), "decoder.1.extra.weight"))

    refused(edited(named, add), tmp_path, r"unexpected: decoder\.1\.extra\.weight \[3, 5\]")


def test_arithmetic_constants_are_no_weights(named, tmp_path):
    def add(graph):
        graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.5), "half"))
        graph.initializer.append(onnx.numpy_helper.from_array(np.arange(7), "axes"))

    assert convert_onnx(edited(named, add), tmp_path / "model", CONFIG).constants == 2


@pytest.mark.parametrize("value", [-100.0, -50.0])
def test_a_stored_mask_must_be_ours(named, tmp_path, value):
    mask = (build_model(CONFIG).dist_p.windows.mask[:, 0] < 0).numpy() * np.float32(value)
    path = edited(
        named, lambda g: g.initializer.append(onnx.numpy_helper.from_array(mask, "dist_p.layers.0.blocks.1.attn_mask"))
    )
    if value == -100.0:
        derived = convert_onnx(path, tmp_path / "model", CONFIG).derived
        assert derived == ("dist_p.layers.0.blocks.1.attn_mask = attention mask",)
    else:
        refused(path, tmp_path, "has the shape of our attention mask and other values")


def test_a_matrix_of_the_wrong_shape_is_named(named, tmp_path):
    def turn(graph):
        tensor(graph, FC1).dims[:] = [20, 48]

    refused(edited(named, turn), tmp_path, rf"{FC1} has \[20, 48\] in the file .* \[48, 20\] here")


def test_a_square_matrix_whose_direction_the_graph_does_not_say_is_refused(named, tmp_path):
    def hide(graph):
        for node in graph.node:
            node.input[:] = ["elsewhere" if name == WQ else name for name in node.input]

    refused(edited(named, hide), tmp_path, "square and the graph does not say")


def test_another_type_is_refused(named, tmp_path):
    def halve(graph):
        old = tensor(graph, WQ)
        graph.initializer.remove(old)
        graph.initializer.append(onnx.numpy_helper.from_array(np.ones((20, 20), np.float16), WQ))

    refused(edited(named, halve), tmp_path, f"{WQ} is not of type float32")


def external(key, value, name=WQ):
    def change(graph):
        for entry in tensor(graph, name).external_data:
            if entry.key == key:
                entry.value = value

    return change


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("offset", "-4096", "which has"),
        ("offset", str(2**62), "which has"),
        ("offset", "many", "is no number"),
        ("length", "16", "needs 1600 bytes"),
        ("length", str(2**62), "needs 1600 bytes"),
        ("location", "../../secret", "outside its folder"),
        ("location", "/etc/passwd", "outside its folder"),
        ("location", "nowhere", "which is no file"),
        ("location", "", "which is no file"),
    ],
)
def test_a_position_outside_the_weights_is_refused(named, tmp_path, key, value, message):
    refused(edited(named, external(key, value)), tmp_path, message)


def test_a_link_out_of_the_folder_is_refused(named, tmp_path):
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    folder = tmp_path / "release"
    folder.mkdir()
    named.rename(folder / named.name)
    (tmp_path / DATA).rename(outside / DATA)
    (folder / DATA).symlink_to(outside / DATA)
    refused(folder / named.name, tmp_path, "outside its folder")


def test_a_truncated_weights_file_is_refused(named, tmp_path):
    weights = tmp_path / DATA
    weights.write_bytes(weights.read_bytes()[:-4])
    refused(named, tmp_path, "get both files again")


@pytest.mark.parametrize("dims", [[-1, 20], [2**40, 2**40]])
def test_impossible_shapes_are_refused(named, tmp_path, dims):
    def change(graph):
        tensor(graph, WQ).dims[:] = dims

    refused(edited(named, change), tmp_path, "impossible shape|needs")


def test_a_small_tensor_without_its_values_is_refused(named, tmp_path):
    def change(graph):
        tensor(graph, "mean").raw_data = b"\0" * 8

    refused(edited(named, change), tmp_path, "mean in .* does not hold")


def test_a_file_that_is_no_graph_is_refused(tmp_path):
    path = tmp_path / "fuxi_ens.onnx"
    path.write_bytes(b"\xff" * 100)
    refused(path, tmp_path, "no ONNX file")


def test_without_a_config_only_the_release_is_understood(named, tmp_path):
    with pytest.raises(UserError, match="embedding 20 for 9 channels is not the release"):
        convert_onnx(named, tmp_path / "model")


def test_the_release_is_recognized_by_its_shapes():
    config = model_config_of_release()
    model = build_model(config, "meta", posterior=False)
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    found = inferred(shapes, (50, 324, 324))
    assert found == config
    assert sum(p.numel() for p in build_model(found, "meta", posterior=False).parameters()) == 2_474_861_958


def model_config_of_release():
    from fuxi_ens.config import ModelConfig

    return ModelConfig(**RELEASE)


def test_memory_is_that_of_the_largest_tensor_not_of_the_file(named, tmp_path):
    """Weights are views of the file until they are written, one at a time."""
    from fuxi_ens.convert.onnx_file import Region, read_initializers

    regions = [item for item in read_initializers(named) if isinstance(item.source, Region)]
    assert len(regions) > 40
    for item in regions:
        assert isinstance(item.source.read().base, np.memmap), item.name
