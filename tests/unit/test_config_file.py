"""Reading a run file: every mistake is one message that names the key and the remedy."""

import pytest
import yaml
from makers import run_values, set_value, write_run_file

from fuxi_ens.config import load_config
from fuxi_ens.errors import ConfigError


def message(path, *overrides):
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return str(caught.value)


@pytest.fixture
def run_file(tmp_path):
    return write_run_file(tmp_path)


def with_value(tmp_path, key, value):
    return write_run_file(tmp_path, set_value(run_values(tmp_path), key, value))


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("modle", "model"),
        ("run.sead", "seed"),
        ("model.hight", "height"),
        ("train.weigth_decay", "weight_decay"),
        ("train.stages.0.learning_rat", "learning_rate"),
        ("train.stages.1.kl_wieght", "kl_weight"),
        ("data.train.1.stat", "start"),
        ("forecast.init_times.every_hour", "every_hours"),
        ("verify.climatology.windows_days", "window_days"),
        ("verify.climatology.periods.0.ende", "end"),
    ],
)
def test_a_misspelt_key_is_named_with_its_path_and_what_was_meant(tmp_path, key, meant):
    text = message(with_value(tmp_path, key, 1))
    assert f"  {key}: unknown key; did you mean {meant!r}?" in text.splitlines()


def test_one_mistake_in_a_list_of_one_is_one_line(tmp_path):
    assert len(message(with_value(tmp_path, "data.test.0.stat", 1)).splitlines()) == 2


def test_a_key_like_none_lists_those_that_exist(tmp_path):
    text = message(with_value(tmp_path, "run.xyzzy", 1))
    assert "run.xyzzy: unknown key; known keys here: folder, name, seed, threads" in text


def test_all_mistakes_are_told_at_once(tmp_path):
    values = set_value(set_value(run_values(tmp_path), "run.sed", 1), "model.heads", "many")
    del values["verify"]["baseline"]
    lines = message(write_run_file(tmp_path, values)).splitlines()
    assert str(tmp_path / "run.yaml") in lines[0]
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["run.sed", "model.heads", "verify.baseline"]
    assert "missing, and it has no default" in lines[3]


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("model.heads", "many", "'many'"),
        ("run.seed", 1.5, "1.5"),
        ("data.in_memory", "perhaps", "'perhaps'"),
        ("data.train", "2016", "'2016'"),
        ("data.train.0.start", "yesterday", "'yesterday'"),
        ("train.stages.0.learning_rate", [1], "[1]"),
        ("model", 3, "3"),
    ],
)
def test_a_wrong_type_is_told_with_what_was_got(tmp_path, key, value, told):
    lines = message(with_value(tmp_path, key, value)).splitlines()
    assert len(lines) == 2
    assert lines[1].startswith(f"  {key}: ")
    assert lines[1].endswith(f"got {told}")


def test_a_number_that_yaml_takes_for_a_string_is_a_number(tmp_path):
    text = yaml.safe_dump(run_values(tmp_path)).replace("learning_rate: 0.001", "learning_rate: 1e-3")
    assert yaml.safe_load(text)["train"]["stages"][0]["learning_rate"] == "1e-3"
    (tmp_path / "run.yaml").write_text(text)
    assert load_config(tmp_path / "run.yaml").train.stages[0].learning_rate == 1e-3


@pytest.mark.parametrize(
    ("override", "get", "wanted"),
    [
        ("run.seed=3", lambda c: c.run.seed, 3),
        ("run.name=a=b", lambda c: c.run.name, "a=b"),
        ("train.stages.1.learning_rate=1e-5", lambda c: c.train.stages[1].learning_rate, 1e-5),
        ("verify.regions=[global]", lambda c: c.verify.regions, ("global",)),
        ("verify.regions.1=europe", lambda c: c.verify.regions, ("global", "europe")),
        ("data.in_memory=true", lambda c: c.data.in_memory, True),
        ("run={name: x, folder: y}", lambda c: (c.run.name, c.run.seed), ("x", 2025)),
        ("data.train.1={start: 2015-01-01, end: 2015-01-02}", lambda c: c.data.train[1].start.year, 2015),
        ("data.static_store=", lambda c: c.data.static_store, ""),
        ("train.clip_norm=2", lambda c: c.train.clip_norm, 2.0),
    ],
)
def test_an_override_replaces_one_value(run_file, override, get, wanted):
    assert get(load_config(run_file, [override])) == wanted


def test_later_overrides_win_and_the_file_is_left_alone(run_file):
    before = run_file.read_bytes()
    assert load_config(run_file, ["run.seed=1", "run.seed=2"]).run.seed == 2
    assert run_file.read_bytes() == before


def test_an_override_may_create_a_section(tmp_path):
    values = run_values(tmp_path)
    climatology = values["verify"].pop("climatology")
    path = write_run_file(tmp_path, values)
    periods = yaml.safe_dump(climatology["periods"], default_flow_style=True).strip()
    assert len(load_config(path, [f"verify.climatology.periods={periods}"]).verify.climatology.periods) == 2


@pytest.mark.parametrize("override", ["run.seed", "=3", "", "run"])
def test_an_override_without_key_or_value_is_refused(run_file, override):
    assert "is not of the form section.key=value" in message(run_file, override)


@pytest.mark.parametrize(
    "override",
    ["train.stages.2.name=x", "train.stages.-1.name=x", "train.stages.first=x", "run.seed.deep=1", "data.train.9=1"],
)
def test_an_override_of_what_is_not_there_is_refused(run_file, override):
    assert repr(override) in message(run_file, override)


def test_a_misspelt_override_is_told_like_a_misspelt_key(run_file):
    assert "run.sead: unknown key; did you mean 'seed'?" in message(run_file, "run.sead=1")


@pytest.mark.parametrize("override", ["run.name=[a", "run.name={a: ", "run.name='a", "run.name=*a"])
def test_an_override_that_is_no_yaml_is_refused(run_file, override):
    assert override in message(run_file, override)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "expected a mapping of sections"),
        (b"- a\n- b\n", "holds list, expected a mapping"),
        (b"just words", "holds str, expected a mapping"),
        (b"a: [1, 2", "is not valid YAML"),
        (b"a:\n\t- b", "is not valid YAML"),
    ],
)
def test_a_file_that_is_no_run_file_is_refused(tmp_path, content, told):
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    text = message(path)
    assert told in text
    assert str(path) in text


def test_a_binary_file_is_refused(tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(bytes(range(256)))
    assert str(path) in message(path)


def test_a_key_given_twice_is_refused(tmp_path):
    text = write_run_file(tmp_path).read_text().replace("  seed: 7\n", "  seed: 7\n  seed: 8\n")
    (tmp_path / "twice.yaml").write_text(text)
    assert "seed" in message(tmp_path / "twice.yaml")


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    assert "No such file" in message(tmp_path / "absent.yaml")
    assert "Is a directory" in message(tmp_path)


def test_a_rule_across_sections_is_told_without_jargon(tmp_path):
    lines = message(with_value(tmp_path, "forecast.init_times.end", "2018-02-01")).splitlines()
    assert len(lines) == 2
    assert "Value error" not in lines[1]
    assert "leave data.test" in lines[1]
