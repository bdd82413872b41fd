"""Settings of the process, whatever it was before; what needs a CUDA device is checked where there is one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hsdc_runtime.environment import OPTIMIZER, WORKSPACE, before_the_framework
from hsdc_runtime.nn.acceleration import accelerator_for
from hsdc_runtime.nn.checkpoint import tensor_digests, weights_of
from hsdc_runtime.nn.determinism import deterministic
from hsdc_runtime.nn.encoder_learner import EncoderLearner as Learner
from hsdc_runtime.nn.losses import head_losses
from hsdc_runtime.nn.optimizer import adamw
from hsdc_runtime.nn.step import take_step
from hsdc_schemas.errors import HsdcError
from hsdc_schemas.spec import Execution


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    deterministic(Execution())
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("threads")
def test_the_process_is_set_whatever_it_was_before() -> None:
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.enable_flash_sdp(False)
    torch.set_float32_matmul_precision("medium")
    deterministic(Execution(threads=2))
    assert torch.get_num_threads() == 2
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cudnn.benchmark
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cuda.flash_sdp_enabled(), "on a CPU it is what sdpa is"


@pytest.mark.usefixtures("threads")
def test_on_a_cuda_device_one_attention_kernel_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORKSPACE, ":4096:8")
    deterministic(Execution(device="cuda"))
    found = torch.backends.cuda
    assert found.math_sdp_enabled()
    assert not (found.flash_sdp_enabled())
    assert not (found.mem_efficient_sdp_enabled())
    assert not (found.cudnn_sdp_enabled())


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("chosen", ["", ":0:0"])
def test_a_workspace_without_an_order_is_refused_on_a_cuda_device(monkeypatch: pytest.MonkeyPatch, chosen: str) -> None:
    monkeypatch.setenv(WORKSPACE, chosen)
    deterministic(Execution())
    with pytest.raises(HsdcError) as caught:
        deterministic(Execution(device="cuda"))
    assert [fault.code for fault in caught.value.diagnostics] == ["E439"]


@pytest.mark.parametrize(("before", "after"), [(None, ":4096:8"), (":16:8", ":16:8"), (":0:0", ":0:0")])
def test_the_workspace_is_set_before_torch_is_there_and_a_choice_stays(
    monkeypatch: pytest.MonkeyPatch, before: str | None, after: str
) -> None:
    monkeypatch.delenv(WORKSPACE, raising=False)
    if before is not None:
        monkeypatch.setenv(WORKSPACE, before)
    before_the_framework()
    assert os.environ[WORKSPACE] == after


def learner(make: SimpleNamespace, execution: Execution) -> Learner:
    deterministic(execution)
    accelerator = accelerator_for(execution)
    model, data, training = make.classifier(dropout=0.2).train(), make.rows(24), make.training()
    model.to(accelerator.device)
    losses = head_losses(make.heads(), data.targets, accelerator.device)
    return Learner(model, adamw(model, training), accelerator, losses, data, 0, training)


@pytest.mark.usefixtures("threads")
def test_the_optimizer_is_the_one_that_records_name(make: SimpleNamespace) -> None:
    optimizer = learner(make, Execution()).optimizer
    said = f"torch {type(optimizer).__name__}{', fused' if optimizer.defaults['fused'] else ''}"
    assert said == OPTIMIZER


@pytest.mark.gpu
@pytest.mark.usefixtures("threads")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_step_on_a_cuda_device_gives_the_same_bits_again(
    make: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    monkeypatch.setenv(WORKSPACE, ":4096:8")
    found = []
    for _ in range(2):
        one = learner(make, Execution(device="cuda", precision=precision, attention="sdpa"))
        for step in range(3):
            take_step(one, np.arange(24), 0, step, step + 1)
        found.append(tensor_digests(weights_of(one.classifier))[1])
    assert found[0] == found[1]
