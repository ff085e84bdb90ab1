"""The site file: what it may hold, what it says of mistakes, where it is looked for."""

from pathlib import Path

import pytest

from fuxi_ens.config.file import read_config
from fuxi_ens.config.site import GpuNodesConfig, SiteConfig, seconds
from fuxi_ens.errors import ConfigError, UserError
from fuxi_ens.slurm.site import load_site

EXAMPLE = Path(__file__).parents[2] / "slurm" / "site.example.yaml"


@pytest.fixture
def read(tmp_path):
    def from_text(text):
        path = tmp_path / "site.yaml"
        path.write_text(text)
        return load_site(path)

    return from_text


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A folder, a home and an environment without site files; returns folder and home."""
    folder, home = tmp_path / "here", tmp_path / "home"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("FUXI_ENS_SITE", raising=False)
    return folder, home


def write(path, account):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"account: {account}\n")
    return path


class TestContent:
    def test_an_empty_mapping_is_a_site(self, read):
        assert read("{}") == SiteConfig()

    def test_the_example_is_valid_and_shows_every_key(self):
        site = read_config(SiteConfig, EXAMPLE, ())
        text = EXAMPLE.read_text()
        sections = (SiteConfig, type(site.gpu), type(site.cpu), type(site.time))
        keys = {name for section in sections for name in section.model_fields}
        assert not {key for key in keys if f"{key}:" not in text}

    def test_the_example_shows_defaults_where_it_says_so(self):
        """A commented-out key with a value shows its default, unless it only shows the form."""
        assert SiteConfig().signal_seconds == 300
        assert "# signal_seconds: 300" in EXAMPLE.read_text()
        assert f"# max_requeues: {SiteConfig().max_requeues}" in EXAMPLE.read_text()

    def test_a_misspelled_key_is_explained(self, read):
        with pytest.raises(ConfigError, match=r"gpu\.partion: unknown key; did you mean 'partition'"):
            read("gpu: {partion: a100}")

    @pytest.mark.parametrize("text", ["memory: 0", "memory: '0'"])
    def test_a_number_may_stand_for_a_word(self, read, text):
        assert read(f"gpu: {{{text}}}").gpu.memory == "0"

    @pytest.mark.parametrize("word", ["a b", "a'b", 'a"b', "a#b", "a\\b", "a\nb", ""])
    @pytest.mark.parametrize("key", ["account", "qos", "constraint", "partition"])
    def test_what_would_leave_its_option_is_refused(self, key, word):
        with pytest.raises(ValueError, match="string"):
            SiteConfig.model_validate({"cpu": {key: word}})

    @pytest.mark.parametrize("constraint", ["a100|h100", "[rack1*2&rack2*2]", "gpu&(a|b)"])
    def test_constraints_have_signs(self, constraint):
        assert SiteConfig.model_validate({"gpu": {"constraint": constraint}}).gpu.constraint == constraint

    @pytest.mark.parametrize("option", ["mail-type=END", "--a b", "--x\n#SBATCH --y", "-p gpu"])
    def test_an_option_is_one_long_word(self, option):
        for key in ("sbatch_options", "srun_options"):
            with pytest.raises(ValueError, match="string"):
                SiteConfig.model_validate({key: [option]})

    def test_a_line_of_setup_is_one_line(self):
        with pytest.raises(ValueError, match="one line each"):
            SiteConfig.model_validate({"setup": ["module load a\nmodule load b"]})

    @pytest.mark.parametrize("name", ["A B", "1A", "A-B", "A;rm"])
    def test_a_variable_has_the_name_of_one(self, name):
        with pytest.raises(ValueError, match="string"):
            SiteConfig.model_validate({"environment": {name: "1"}})

    def test_the_value_of_a_variable_may_be_a_number_but_no_truth_value(self, read):
        assert read("environment: {A: 1}").environment == {"A": "1"}
        with pytest.raises(ConfigError, match=r"environment.A"):
            read("environment: {A: yes}")


class TestTime:
    @pytest.mark.parametrize(
        ("limit", "expected"),
        [
            ("90", 5400),
            ("10:30", 630),
            ("04:00:00", 14400),
            ("2-12", 216000),
            ("1-01:30", 91800),
            ("1-00:00:01", 86401),
        ],
    )
    def test_limits_are_read_as_by_slurm(self, limit, expected):
        assert seconds(limit) == expected

    def test_what_yaml_took_for_a_number_is_explained(self, read):
        with pytest.raises(ConfigError, match=r"stands in quotes, like '12:00:00'.* got 43200"):
            read("time: {train: 12:00:00}")

    @pytest.mark.parametrize("limit", ["one day", "1:2:3:4", "1-", "-1", "10:5"])
    def test_what_is_no_limit_is_refused(self, limit):
        with pytest.raises(ValueError, match="string"):
            SiteConfig.model_validate({"time": {"train": limit}})

    def test_a_limit_leaves_time_before_the_signal(self):
        with pytest.raises(ValueError, match=r"time {'train': '5'} leaves no time .* 300"):
            SiteConfig.model_validate({"time": {"train": "5"}})


class TestNodes:
    @pytest.mark.parametrize(
        ("values", "expected"),
        [({}, 1), ({"gpus_per_node": 4}, 4), ({"gpus_per_node": 0}, 1), ({"gpus_per_node": 0, "tasks_per_node": 3}, 3)],
    )
    def test_training_runs_a_process_per_gpu(self, values, expected):
        assert GpuNodesConfig(**values).training_tasks == expected

    def test_gpus_without_a_process_are_refused(self):
        with pytest.raises(ValueError, match="one process per GPU"):
            GpuNodesConfig(gpus_per_node=4, tasks_per_node=2)


class TestPlaces:
    def test_without_a_file_all_places_are_named(self, nowhere):
        with pytest.raises(UserError, match=r"FUXI_ENS_SITE.*slurm/site.yaml.*\.config/fuxi_ens/site.yaml.*--site"):
            load_site()

    def test_the_nearest_wins(self, nowhere, tmp_path, monkeypatch):
        folder, home = nowhere
        write(home / ".config" / "fuxi_ens" / "site.yaml", "of_home")
        assert load_site().account == "of_home"
        write(folder / "slurm" / "site.yaml", "of_folder")
        assert load_site().account == "of_folder"
        monkeypatch.setenv("FUXI_ENS_SITE", str(write(tmp_path / "other.yaml", "of_variable")))
        assert load_site().account == "of_variable"
        assert load_site(write(tmp_path / "given.yaml", "given")).account == "given"

    def test_a_named_file_must_be_there(self, nowhere, tmp_path, monkeypatch):
        write(nowhere[0] / "slurm" / "site.yaml", "of_folder")
        monkeypatch.setenv("FUXI_ENS_SITE", str(tmp_path / "missing.yaml"))
        with pytest.raises(ConfigError, match=r"missing.yaml"):
            load_site()
