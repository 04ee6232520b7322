"""Which device and precision a run gets."""

from __future__ import annotations

import pytest
import torch

from ems.errors import InputError
from ems.inference import choose_device
from ems.ranks import Ranks
from ems.training.device import choose_autocast, environment

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_a_cpu_never_gets_half_precision_by_itself():
    assert choose_autocast("auto", CPU) is None


@pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, torch.float16)])
def test_a_gpu_gets_bfloat16_where_it_has_it_else_float16(monkeypatch, native, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert choose_autocast("auto", CUDA) == expected


@pytest.mark.parametrize(("name", "dtype"), [("fp32", None), ("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_a_named_precision_is_taken_as_it_is(name, dtype):
    assert choose_autocast(name, CPU) == dtype


def test_a_device_that_is_not_there_or_not_known_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device(None) == CPU
    with pytest.raises(InputError, match=r"device is cuda, but PyTorch sees no GPU"):
        choose_device("cuda")
    with pytest.raises(InputError, match=r"device 'gpu' is not known"):
        choose_device("gpu")


def test_the_environment_names_what_bits_depend_on():
    found = environment(CPU, Ranks(0, 2))
    assert found["torch"] == torch.__version__
    assert found["threads"] == str(torch.get_num_threads())
    assert found["number of processes"] == "2"
    assert found["device"].startswith("cpu ")
