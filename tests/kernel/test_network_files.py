"""Networks in files: what is saved is loaded, by one call, bit for bit; damage and mistakes are seen."""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import run
from places import DOCS
from plain_resnet import BLOCKS, N_OUT, SKIPS, Doubled, inputs, network
from small_training import CONFIG, data, job
from torch import Tensor
from torch.nn.utils import parametrize

import resnet_sde as rs
from resnet_sde.networks import ReadInOut, ResNet, load, save
from resnet_sde.runs.store import Record, write_record
from resnet_sde.training import Run, fit, load_data, train
from resnet_sde.training.kept import OUTCOME


@dataclass(frozen=True)
class Bent(rs.Activation):
    """φ(x) = x / (1 + slope |x|), one of a user's own."""

    slope: float = 1.0

    def __call__(self, x: Tensor) -> Tensor:
        return x / (1 + self.slope * x.abs())

    def prime(self, x: Tensor) -> Tensor:
        return 1 / (1 + self.slope * x.abs()).square()


NETWORKS = {
    **{name: (block, skip, {}) for name, block in BLOCKS.items() for skip in SKIPS.values()},
    "leaky": (rs.SingleLayer(rs.LeakyReLU(0.3)), 1.0, {}),
    "alpha": (rs.TwoLayer(rs.AlphaReLU(0.75)), 1.0, {"biases": False}),
    "linear": (rs.SingleLayer(rs.LINEAR), 1.0, {"read_in_out": ReadInOut(activated=True)}),
    "float32": (rs.SingleLayer(rs.RELU), 1.0, {"dtype": torch.float32}),
    "bfloat16": (rs.SingleLayer(rs.RELU), 1.0, {"dtype": torch.bfloat16}),
    "float16": (rs.SingleLayer(rs.RELU), 1.0, {"dtype": torch.float16}),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_saved_is_loaded(name: str, tmp_path: Path) -> None:
    block, skip, options = NETWORKS[name]
    drawn_as = {**options, "dtype": None} if "float16" in name else options
    net = network(block, skip, **drawn_as).to(options.get("dtype") or torch.float64)
    save(net, tmp_path / "deep" / "net.npz")
    twin = load(tmp_path / "deep" / "net.npz")
    x = inputs().to(net.alpha.dtype)
    assert torch.equal(twin(x), net(x))
    assert twin.state_dict().keys() == net.state_dict().keys()
    for key, value in net.state_dict().items():
        assert twin.state_dict()[key].dtype == value.dtype
        assert torch.equal(twin.state_dict()[key], value)
    other = network(block, skip, **{**drawn_as, "seed": 5}).to(net.alpha.dtype)
    assert not torch.allclose(other(x), net(x), rtol=0.1)
    twin(x).square().sum().backward()
    assert all(p.grad is not None for p in twin.parameters())


def test_weights_that_are_functions_of_others_are_kept_as_they_are(tmp_path: Path) -> None:
    net = network()
    parametrize.register_parametrization(net, "outer", Doubled())
    net.readout_bias = None
    save(net, tmp_path / "net.npz")
    assert torch.equal(load(tmp_path / "net.npz")(inputs()), net(inputs()))


def test_an_activation_of_ones_own_is_given_again(tmp_path: Path) -> None:
    net, file = network(rs.SingleLayer(Bent())), tmp_path / "net.npz"
    save(net, file)
    assert torch.equal(load(file, activation=Bent())(inputs()), net(inputs()))
    for wrong in (Bent(1.1), rs.TANH):
        with pytest.raises(ValueError, match=r"has another activation than .*give Bent as it was"):
            load(file, activation=wrong)
    with pytest.raises(ValueError, match="activation of your own, Bent; give it as activation="):
        load(file)
    save(network(rs.SingleLayer(rs.TANH)), file)
    with pytest.raises(ValueError, match="has another activation"):
        load(file, activation=rs.RELU)


def test_a_flipped_bit_anywhere_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "net.npz"
    save(network(), file)
    content = file.read_bytes()
    for place in range(0, len(content), max(1, len(content) // 60)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"net\.npz cannot be taken, because"):
            load(file)
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"net\.npz cannot be taken"):
        load(file)
    file.write_bytes(content)
    assert load(file)(inputs()).shape == (len(inputs()), N_OUT)


def test_files_that_are_no_networks(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ends with \.npz"):
        save(network(), tmp_path / "net.pt")
    with pytest.raises(ValueError, match=r"ends with \.npz"):
        load(tmp_path / "net.pt")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "absent.npz")
    write_record(tmp_path / "other.npz", {"what": "cells"}, Record({}, {}))
    with pytest.raises(ValueError, match="record of something else"):
        load(tmp_path / "other.npz")


def test_a_member_becomes_a_network_of_its_own() -> None:
    stack, _ = fit([job(0.01, 1), job(0.03, 2, beta=0.8)], CONFIG, data())
    x = data().test.x
    for i in range(2):
        net = stack.network(i)
        assert isinstance(net, ResNet)
        torch.testing.assert_close(net(x), stack(x)[i], rtol=1e-12, atol=1e-12)
        with torch.no_grad():
            net.outer.zero_()
        assert stack.outer[i].any()


# What training keeps

GRID = [job(lr, seed, depth) for depth in (3, 5) for lr in (0.01, 0.03) for seed in (0, 1)]


def scores(net: ResNet) -> tuple[float, float]:
    x, y = data().test
    outputs = net(x).detach()
    loss = torch.nn.functional.cross_entropy(outputs, y).item()
    return loss, (outputs.argmax(1) == y).double().mean().item()


def test_every_trained_network_is_kept(tmp_path: Path) -> None:
    found = train(GRID, CONFIG, data(), stack=3, store=tmp_path, keep_networks=True)
    assert len({outcome.network for outcome in found}) == len(GRID)
    for outcome in found:
        loss, accuracy = scores(load(tmp_path / outcome.network))
        assert (loss, accuracy) == (pytest.approx(outcome.test_loss, rel=1e-12), outcome.test_accuracy)
    assert found == train(GRID, CONFIG, data(), stack=3, store=tmp_path, keep_networks=True)


def test_a_network_that_is_missing_or_damaged_is_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"stack": 2, "store": tmp_path}
    without = train(GRID, CONFIG, data(), **options)
    assert {outcome.network for outcome in without} == {None}
    assert not list(tmp_path.rglob("*.npz"))
    found = train(GRID, CONFIG, data(), **options, keep_networks=True)
    files = [tmp_path / outcome.network for outcome in found]
    before = [file.read_bytes() for file in files]
    files[0].unlink()
    files[2].write_bytes(before[2][:-1] + bytes([before[2][-1] ^ 1]))
    trained: list[object] = []
    monkeypatch.setattr(
        "resnet_sde.training.grid.fit",
        lambda jobs, *rest, **options: trained.extend(jobs) or fit(jobs, *rest, **options),
    )
    assert train(GRID, CONFIG, data(), **options, keep_networks=True) == found
    assert trained == [GRID[0], GRID[2]]
    damaged = "cannot be taken, because its content does not fit its checksum; it is trained anew"
    assert caplog.messages == [f"{files[2]} {damaged}"]
    assert [file.read_bytes() for file in files] == before
    assert train(GRID, CONFIG, data(), **options) == found
    assert len(trained) == 2
    assert len(list(tmp_path.rglob(OUTCOME))) == len(GRID)


def test_the_network_of_another_member_is_not_taken(tmp_path: Path) -> None:
    options = {"stack": 2, "store": tmp_path, "keep_networks": True}
    found = train(GRID, CONFIG, data(), **options)
    files = [tmp_path / outcome.network for outcome in found]
    before = [file.read_bytes() for file in files]
    assert before[0] != before[1]
    files[1].write_bytes(before[0])
    assert train(GRID, CONFIG, data(), **options) == found
    assert [file.read_bytes() for file in files] == before


def test_networks_need_a_store() -> None:
    with pytest.raises(ValueError, match="networks are kept in a store"):
        train(GRID, CONFIG, data(), keep_networks=True)


def test_the_program_keeps_networks_that_one_call_loads(tmp_path: Path) -> None:
    words = ("--width", 8, "--depth", 4, "--depth", 6, "--epochs", 1, "--limit", 256, "--samples", 2)
    status, output, errors = run(*words, "--block", "res-1", "--out", tmp_path, "--json", command="train")
    assert (status, errors) == (0, "")
    examples = load_data("digits", limit=256)
    for cell in json.loads(output)["cells"]:
        nets = [load(tmp_path / name) for name in cell["networks"]]
        assert [len(net.outer) for net in nets] == [cell["depth"]] * 2
        accuracies = [(net(examples.test.x).argmax(1) == examples.test.y).double().mean() for net in nets]
        assert cell["test_accuracy"] == pytest.approx(
            sum(accuracies).item() / 2, abs=1.5 / len(examples.test.x)
        )
        assert not torch.equal(nets[0].outer, nets[1].outer)
    status, output, _ = run(*words, "--block", "res-1", "--out", tmp_path, command="train")
    assert status == 0
    assert "networks" not in output
    status, output, _ = run(*words, "--block", "res-1", "--json", command="train")
    assert "networks" not in json.loads(output)["cells"][0]


def test_the_page_on_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code of docs/training.md runs, and finds what it says."""
    page = (DOCS / "training.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert "best_rate({" in code
    monkeypatch.chdir(tmp_path)
    torch.set_default_dtype(torch.float32)  # as a reader has it
    names: dict[str, Any] = {}
    exec(compile(code.replace("best_rate({", "rate = best_rate({"), "training.md", "exec"), names)
    assert names["rate"] == names["rates"][1]
    x, y = names["part"]
    loss = (names["net"](x)[:, 0] - y).square().mean().item()
    assert loss == pytest.approx(names["outcomes"][1].train_loss, rel=1e-6)
    assert loss < 0.5 * names["outcomes"][0].train_loss


def test_networks_that_diverged_are_kept_too(tmp_path: Path) -> None:
    wild = job(1e100)
    (outcome,) = train([wild], CONFIG, data(), store=tmp_path, keep_networks=True)
    assert outcome.diverged
    assert not math.isfinite(scores(load(tmp_path / outcome.network))[0])
    start = Run([job()], CONFIG, data()).stack.network(0)
    assert math.isfinite(scores(start)[0])
