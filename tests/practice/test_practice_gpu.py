"""The depth check on a CUDA device and in mixed precision there."""

import pytest
import torch
from torch import Tensor, nn

from experiments.own import depth_networks as nets
from resnet_sde.practice import depth_check, probe


@pytest.mark.gpu
def test_the_check_of_a_gpt_is_that_on_cpu() -> None:
    def on_device(depth: int) -> nn.Module:
        return nets.gpt(0.5)(depth).cuda()

    on_cpu = depth_check(nets.gpt(0.5), nets.tokens(), depths=(8, 24))
    on_gpu = depth_check(on_device, nets.tokens().cuda(), depths=(8, 24))
    assert on_gpu.beta.value == pytest.approx(on_cpu.beta.value, abs=0.02)
    assert {w.name for w in on_gpu.writers} == {w.name for w in on_cpu.writers}


@pytest.mark.gpu(real="autocast is chosen by device below what a stand-in sees")
@pytest.mark.usefixtures("global_random")
def test_mixed_precision_changes_no_angle_much() -> None:
    def cast(module: nn.Module, batch: Tensor) -> Tensor:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            return module(batch)

    net, x = nets.gpt(0.5)(8).float(), nets.tokens()
    plain = probe(net, x)
    mixed = probe(net.cuda(), x.cuda(), call=cast)
    assert torch.allclose(mixed.turning, plain.turning, rtol=0.05)
