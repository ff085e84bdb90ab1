"""Stores behind a network that fails: bounded retries, then one clear error; no account where none is needed."""

import json
import pickle

import numpy as np
import pytest
from makers import analysis_dataset, make_analysis, times, write_store
from servers import seconds, serve

from fuxi_ens.errors import StoreError
from fuxi_ens.stores import open_store, remote

WHEN = times("2018-01-01", "2018-01-01T18")
ACCOUNTS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "GOOGLE_APPLICATION_CREDENTIALS")


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Waits of a second instead of half a minute, and no account from the environment."""
    monkeypatch.setattr(remote, "TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr(remote, "_FIRST_WAIT_SECONDS", 0.01)
    for name in ACCOUNTS:
        monkeypatch.delenv(name, raising=False)


def assert_holds(url, truth):
    dataset = open_store(url).dataset
    for name, array in truth.data_vars.items():
        np.testing.assert_array_equal(dataset[name].values, array.values)


@pytest.mark.parametrize(
    "behavior",
    [{"fail_every": 3}, {"fail_every": 3, "status": 503}, {"stall_every": 9}, {"fail_every": 4, "stall_every": 11}],
)
def test_a_store_behind_a_failing_server_is_read_completely(tmp_path, behavior):
    truth = make_analysis(tmp_path / "a.zarr", when=WHEN)
    with serve(tmp_path, **behavior) as (url, seen):
        assert_holds(f"{url}/a.zarr", truth)
    assert seen.failed >= 3 or seen.stalled >= 1


@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")
def test_a_store_of_format_3_with_consolidated_metadata(tmp_path):
    truth = analysis_dataset(when=WHEN)
    truth.to_zarr(tmp_path / "a.zarr", zarr_format=3, consolidated=True)
    with serve(tmp_path, fail_every=3) as (url, _):
        assert_holds(f"{url}/a.zarr", truth)


def test_a_server_that_always_fails_is_asked_a_bounded_number_of_times(tmp_path):
    make_analysis(tmp_path / "a.zarr", when=WHEN)
    with serve(tmp_path, fail_every=1) as (url, seen):

        def read():
            with pytest.raises(StoreError, match=r"cannot open http://127.*tried up to 6 times; check the address"):
                open_store(f"{url}/a.zarr")

        assert seconds(read) < 5.0
    # zarr looks for four files at once.
    assert max(seen.paths.count(path) for path in set(seen.paths)) == remote.ATTEMPTS


def test_a_server_that_always_stalls_is_left_in_bounded_time(tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "TIMEOUT_SECONDS", 0.2)
    make_analysis(tmp_path / "a.zarr", when=WHEN)
    with serve(tmp_path, stall_every=1) as (url, seen):

        def read():
            with pytest.raises(StoreError, match="cannot open"):
                open_store(f"{url}/a.zarr")

        assert seconds(read) < 2 * remote.ATTEMPTS * 0.2 + 3.0
    assert seen.stalled > 0


def test_nobody_answers(tmp_path):
    with serve(tmp_path) as (url, _):
        pass
    with pytest.raises(StoreError, match="check the address, the network and the proxy"):
        open_store(f"{url}/a.zarr")


def test_an_address_without_a_store(tmp_path):
    with serve(tmp_path) as (url, _), pytest.raises(StoreError, match="there is no Zarr store at http"):
        open_store(f"{url}/a.zarr")


def test_a_web_server_cannot_list_what_is_not_consolidated(tmp_path):
    write_store(analysis_dataset(when=WHEN), tmp_path / "a.zarr", zarr_format=3)
    with serve(tmp_path) as (url, _), pytest.raises(StoreError, match="consolidated metadata"):
        open_store(f"{url}/a.zarr")


def test_buckets_are_read_without_an_account_and_with_retries(tmp_path, monkeypatch):
    truth = make_analysis(tmp_path / "bucket" / "folder" / "a.zarr", when=WHEN)
    with serve(tmp_path, fail_every=3) as (url, seen):
        monkeypatch.setenv("AWS_ENDPOINT", url)
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        assert_holds("s3://bucket/folder/a.zarr", truth)
    assert "bucket/folder/a.zarr/.zmetadata" in seen.paths
    assert seen.failed >= 3
    assert not seen.signed


def test_google_buckets_are_read_with_retries(tmp_path, monkeypatch):
    truth = make_analysis(tmp_path / "bucket" / "a.zarr", when=WHEN)
    with serve(tmp_path, fail_every=3) as (url, seen):
        # As for an emulator of the service; this is the only way to another address.
        account = {
            "gcs_base_url": url,
            "disable_oauth": True,
            "client_email": "",
            "private_key": "",
            "private_key_id": "",
        }
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(account))
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        assert_holds("gs://bucket/a.zarr", truth)
    assert seen.failed >= 3


def test_a_store_behind_a_network_travels_to_other_processes(tmp_path):
    truth = make_analysis(tmp_path / "a.zarr", when=WHEN)
    with serve(tmp_path) as (url, _):
        there = pickle.loads(pickle.dumps(open_store(f"{url}/a.zarr")))
        np.testing.assert_array_equal(there.dataset["2m_temperature"].values, truth["2m_temperature"].values)
        assert there.arrays["2m_temperature"].array[0].shape == (8, 16)


def test_an_account_in_the_environment_is_used(tmp_path, monkeypatch):
    make_analysis(tmp_path / "bucket" / "a.zarr", when=WHEN)
    with serve(tmp_path) as (url, seen):
        monkeypatch.setenv("AWS_ENDPOINT", url)
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
        open_store("s3://bucket/a.zarr")
    assert seen.signed


@pytest.mark.parametrize("url", ["ftp://host/a.zarr", "az://container/a.zarr"])
def test_other_kinds_of_address_are_refused(url):
    with pytest.raises(StoreError, match=r"expected one of \['gs', 'http', 'https', 's3'\]"):
        open_store(url)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:hush@host/a.zarr", "https://host/a.zarr"),
        ("see https://host/a.zarr?sig=hush&x=1 there", "see https://host/a.zarr there"),
        ("gs://bucket/a.zarr", "gs://bucket/a.zarr"),
        ("/a/file@home?x=1.nc", "/a/file@home?x=1.nc"),
    ],
)
def test_passwords_are_never_printed(text, shown):
    assert remote.printable(text) == shown


def test_an_error_does_not_show_the_password(tmp_path):
    with serve(tmp_path) as (url, _), pytest.raises(StoreError) as error:
        open_store(url.replace("http://", "http://me:hush@") + "/a.zarr?sig=hush")
    assert "hush" not in str(error.value)


def test_a_store_remembers_its_address_without_the_password(tmp_path):
    make_analysis(tmp_path / "a.zarr", when=WHEN)
    with serve(tmp_path) as (url, _):
        assert open_store(url.replace("http://", "http://me:hush@") + "/a.zarr").source == f"{url}/a.zarr"
