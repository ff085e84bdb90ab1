"""Which device a process takes, and what it says of it."""

import pytest
import torch

from fuxi_ens import device

SLOW = {
    "flags : fpu avx2 avx512_bf16": False,
    "flags : amx_bf16": False,
    "Features : fp asimd bf16": False,
    "flags : avx2": True,
}


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def processor(monkeypatch, text):
    monkeypatch.setattr(device.Path, "read_text", lambda self: text)


@pytest.mark.parametrize(("text", "slow"), SLOW.items())
def test_a_processor_that_must_imitate_bfloat16_is_named(monkeypatch, caplog, text, slow):
    processor(monkeypatch, text)
    assert device.choose_device(1, bfloat16=True) == torch.device("cpu")
    assert ("set precision float32" in caplog.text) == slow


def test_float32_is_never_warned_of(monkeypatch, caplog):
    processor(monkeypatch, "flags : avx2")
    device.choose_device(1, bfloat16=False)
    assert not caplog.text


def test_where_nobody_can_tell_nothing_is_said(monkeypatch, caplog):
    def absent(self):
        raise FileNotFoundError

    monkeypatch.setattr(device.Path, "read_text", absent)
    device.choose_device(1, bfloat16=True)
    assert not caplog.text
