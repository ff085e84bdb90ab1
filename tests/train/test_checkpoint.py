"""The model folder: bit exact, self-contained, refused when it is not whole, and free of pickle."""

import ast
import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_run import randomize

import fuxi_ens
from fuxi_ens.checkpoint import DESCRIPTION, WEIGHTS, held, load_checkpoint, save_checkpoint, write_checkpoint
from fuxi_ens.config import ModelConfig
from fuxi_ens.errors import StoreError
from fuxi_ens.model import build_model

CONFIG = ModelConfig(
    channels=("z500", "t2m", "tp"),
    height=4,
    width=8,
    patch=1,
    embedding=8,
    heads=2,
    window=2,
    mlp_hidden=8,
    perturbation_layers=1,
    forecast_layers=1,
    blocks_per_layer=2,
    output="increment",
    polar_row="release",
    initial_logvar=-3.0,
)


@pytest.fixture
def folder(tmp_path):
    save_checkpoint(tmp_path / "model", randomize(build_model(CONFIG)), 6, {"seed": 7, "run_name": "tiny"})
    return tmp_path / "model"


def test_a_round_trip_is_bit_exact(folder):
    saved, loaded = (
        randomize(build_model(CONFIG)).state_dict(),
        load_checkpoint(folder, posterior=True).model.state_dict(),
    )
    assert saved.keys() == loaded.keys()
    assert all(torch.equal(saved[key].view(torch.int32), loaded[key].view(torch.int32)) for key in saved)


@pytest.mark.parametrize("latent", ["diagonal", "low_rank"])
@pytest.mark.parametrize("posterior", [True, False])
def test_a_loaded_model_has_the_tables_of_a_built_one(tmp_path, latent, posterior):
    config = CONFIG.model_copy(update={"latent": latent, "latent_rank": 2})
    built = randomize(build_model(config))
    save_checkpoint(tmp_path, built, 6, {})
    loaded = load_checkpoint(tmp_path, posterior=posterior).model
    expected = {
        name: tensor
        for name, tensor in [*built.named_parameters(), *built.named_buffers()]
        if posterior or not name.startswith("dist_q.")
    }
    found = dict([*loaded.named_parameters(), *loaded.named_buffers()])
    assert found.keys() == expected.keys()
    assert found.keys() > loaded.state_dict().keys(), "masks and rotary angles are in no file"
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert found[name].device == tensor.device, name
        assert found[name].requires_grad == tensor.requires_grad, name
        assert torch.equal(found[name], tensor), name


def test_loading_draws_no_random_numbers(folder):
    before = torch.get_rng_state()
    load_checkpoint(folder, posterior=True)
    assert torch.equal(torch.get_rng_state(), before)


def test_modules_built_after_loading_have_values(folder):
    load_checkpoint(folder)
    edited(folder, model={**CONFIG.model_dump(mode="json"), "embedding": 16})
    with pytest.raises(StoreError):
        load_checkpoint(folder)
    assert torch.nn.Linear(2, 2).weight.device.type == "cpu"


def test_a_state_in_memory_gives_the_folder_of_its_model(folder, tmp_path):
    state = {name: tensor.clone() for name, tensor in randomize(build_model(CONFIG)).state_dict().items()}
    write_checkpoint(tmp_path / "state", CONFIG, held(state), 6, {"seed": 7, "run_name": "tiny"})
    for file in folder.iterdir():
        assert file.read_bytes() == (tmp_path / "state" / file.name).read_bytes()


def test_the_folder_alone_builds_the_model(folder):
    checkpoint = load_checkpoint(folder)
    assert checkpoint.model.config == CONFIG
    assert checkpoint.step_size_hours == 6
    assert checkpoint.provenance == {"seed": 7, "run_name": "tiny"}
    assert not checkpoint.model.training


def test_saving_twice_gives_the_same_bytes(folder, tmp_path):
    save_checkpoint(tmp_path / "again", randomize(build_model(CONFIG)), 6, {"seed": 7, "run_name": "tiny"})
    for file in folder.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


def test_the_card_states_size_and_provenance(folder):
    card = (folder / "README.md").read_text()
    count = sum(
        p.numel() for net in (build_model(CONFIG).dist_p, build_model(CONFIG).decoder) for p in net.parameters()
    )
    assert f"{count:,} parameters" in card
    assert "- seed: 7" in card


@pytest.mark.parametrize("file", [WEIGHTS, DESCRIPTION])
def test_an_absent_file_is_an_unfinished_model(folder, file):
    (folder / file).unlink()
    with pytest.raises(StoreError, match=r"no finished model in .*run `fuxi-ens train`"):
        load_checkpoint(folder)


def test_an_absent_folder_is_an_unfinished_model(tmp_path):
    with pytest.raises(StoreError, match="no finished model"):
        load_checkpoint(tmp_path / "nowhere")


@pytest.mark.parametrize("file", [WEIGHTS, DESCRIPTION])
def test_a_truncated_file_is_damage(folder, file):
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(StoreError, match="damaged"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\xff\xfe\x00binary", id="not text"),
        pytest.param(b"[]", id="not an object"),
        pytest.param(b'{"schema_version": 1}', id="nothing but a schema"),
    ],
)
def test_a_description_that_describes_nothing_is_refused(folder, content):
    (folder / DESCRIPTION).write_bytes(content)
    with pytest.raises(StoreError, match="damaged or of another version"):
        load_checkpoint(folder)


def edited(folder, **changes):
    description = json.loads((folder / DESCRIPTION).read_text())
    (folder / DESCRIPTION).write_text(json.dumps({**description, **changes}))


def test_another_schema_is_refused(folder):
    edited(folder, schema_version=99)
    with pytest.raises(StoreError, match=r"of another version: .*\nschema_version\n.*should be 1 .*input_value=99"):
        load_checkpoint(folder)


def test_a_setting_of_the_future_is_refused(folder):
    edited(folder, model={**CONFIG.model_dump(mode="json"), "cascade": 3})
    with pytest.raises(StoreError, match=r"of another version: .*\nmodel\.cascade\n"):
        load_checkpoint(folder)


def test_weights_of_another_shape_are_refused(folder):
    edited(folder, model={**CONFIG.model_dump(mode="json"), "embedding": 16})
    with pytest.raises(StoreError, match="size mismatch"):
        load_checkpoint(folder)


def replace_weights(folder, weights):
    """Other tensors under a description that names them as its own."""
    save_file(weights, folder / WEIGHTS)
    edited(folder, weights_hash=hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest())


def test_a_missing_or_foreign_tensor_is_refused(folder):
    weights = load_file(folder / WEIGHTS)
    replace_weights(folder, {key: value for key, value in weights.items() if key != "mean"})
    with pytest.raises(StoreError, match="mean"):
        load_checkpoint(folder)
    replace_weights(folder, {**weights, "decoder.1.extra": torch.zeros(1)})
    with pytest.raises(StoreError, match=r"decoder\.1\.extra"):
        load_checkpoint(folder)


def test_weights_of_another_training_are_refused(folder, tmp_path):
    save_checkpoint(tmp_path / "other", randomize(build_model(CONFIG), seed=1), 6, {"seed": 7, "run_name": "tiny"})
    shutil.copy(tmp_path / "other" / WEIGHTS, folder / WEIGHTS)
    with pytest.raises(StoreError, match=r"damaged or is not that of model\.json"):
        load_checkpoint(folder)


def test_one_flipped_bit_of_a_weight_is_damage(folder):
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 0x01
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(StoreError, match="damaged"):
        load_checkpoint(folder)


def test_the_hash_is_that_of_the_weights_file(folder):
    expected = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    assert load_checkpoint(folder).weights_hash == expected
    assert json.loads((folder / DESCRIPTION).read_text())["weights_hash"] == expected


def calls_of(name):
    """Calls `x.<name>(...)` and imports of `name` in the package, as (file, node)."""
    for path in sorted(Path(fuxi_ens.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == name:
                yield path, node
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [getattr(node, "module", None), *(alias.name for alias in node.names)]
                if name in names:
                    yield path, node


def test_nothing_is_pickled():
    for name in ("pickle", "cloudpickle", "dill", "joblib", "shelve", "eval", "exec"):
        assert not list(calls_of(name)), name


def test_torch_load_reads_tensors_only():
    found = list(calls_of("torch.load"))
    assert found
    for path, call in found:
        assert "weights_only=True" in ast.unparse(call), path
