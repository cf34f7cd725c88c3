"""`resnet-sde kernel`: its keys, against the functions behind it and numbers from the literature."""

import json
import math
import subprocess
import sys

import pytest
import torch
from command_line import run

import resnet_sde as rs
from resnet_sde import meanfield


def answer(*words: object) -> dict:
    """The JSON object of a request."""
    status, output, errors = run(*words, "--json", command="kernel")
    assert status == 0, errors
    return json.loads(output)


def refused(*words: object) -> str:
    """The sentence of a refusal."""
    status, output, errors = run(*words, command="kernel")
    assert (status, output, errors.count("\n")) == (2, "", 1)
    return errors


def test_white_res_3_has_the_exact_mean() -> None:
    found = answer("--depth", 1000)
    exact = (1 + 0.5 / 1000) ** 1000 - 1
    assert found["displacement2"] == pytest.approx(exact, rel=1e-12)
    assert found["gradient_displacement2"] == pytest.approx(exact, rel=1e-12)
    assert found["log10_displacement"] == pytest.approx(0.5 * math.log10(exact), abs=1e-12)
    assert found["model"]["depth"] == 1000
    assert {"seed", "versions"} <= found.keys()


def test_a_small_displacement_keeps_its_digits() -> None:
    found = answer("--depth", 1000, "--beta", 6)
    assert found["displacement2"] == pytest.approx(math.expm1(1000 * math.log1p(0.5e-36)), rel=1e-12)


@pytest.mark.parametrize("law", [("--law", "fractional", "--hurst", 0.8), ("--law", "smooth")])
def test_width_mixes_the_direction_of_the_state_in(law: tuple) -> None:
    wide, narrow = answer(*law, "--depth", 60), answer(*law, "--depth", 60, "--width", 10)
    assert narrow["displacement2"] == wide["displacement2"]
    mixed = 0.9 * wide["gradient_displacement2"] + 0.1 * wide["displacement2"]
    assert narrow["gradient_displacement2"] == pytest.approx(mixed, rel=1e-12)
    profile = answer(*law, "--depth", 60, "--width", 10, "--profile")
    assert profile["gradient_displacement2"] == pytest.approx(mixed, rel=1e-9)


def test_the_width_means_nothing_to_a_branch_that_is_not_homogeneous() -> None:
    tanh = ("--block", "res-2", "--activation", "tanh", "--depth", 20)
    assert answer(*tanh, "--width", 10)["gradient_displacement2"] == answer(*tanh)["gradient_displacement2"]


def test_explosion_is_a_number_where_its_square_is_none() -> None:
    for law in (("--law", "fractional", "--hurst", 0.97), ("--law", "white", "--sw2", 50)):
        found = answer(*law, "--beta", 0, "--depth", 1000)
        assert found["displacement2"] is None
        assert found["gradient_displacement2"] is None
        assert 154 < found["log10_displacement"] < 1e4


def test_profile_starts_and_ends_where_it_should() -> None:
    for law in ("white", "smooth"):
        found = answer("--law", law, "--depth", 30, "--profile")
        states, gradients = (found["profile"][k] for k in ("displacement2", "gradient_displacement2"))
        assert len(states) == len(gradients) == 31
        assert states[0] == gradients[-1] == 0
        assert states[-1] == pytest.approx(found["displacement2"], rel=1e-10)
        assert gradients[0] == found["gradient_displacement2"]
    assert "profile" not in answer("--depth", 30)


def test_full_block_at_beta_0() -> None:
    # Tanh with variances (1, .25, 1, .25), p = 1 and cosine 1/2: ten layers, 40-digit references.
    words = ("--block", "full", "--activation", "tanh", "--beta", 0, "--sb2", 0.25, "--sa2", 0.25)
    found = answer(*words, "--e0", 0.5, "--p0", 1, "--depth", 10)
    model = rs.Model(rs.TwoLayer(rs.TANH, 1.0, 0.25, 1.0, 0.25), rs.WhiteNoise(), 1, beta=0.0)
    lengths, gaps = meanfield.lengths(model, depth=10), meanfield.gaps(model, 1.0, 0.5, depth=10)
    assert found["p"] == lengths.q.tolist()
    assert found["one_minus_e"] == gaps.tolist()
    assert found["log_gradient_growth"] == lengths.log_gradient_growth.tolist()
    assert found["log_gradient_growth"][-1] == pytest.approx(2.2, abs=0.2)


def test_correlated_layers_list_their_lengths_too() -> None:
    found = answer("--block", "full", "--law", "smooth", "--depth", 20)
    assert len(found["p"]) == len(found["log_gradient_growth"]) == 21
    assert found["one_minus_e"] is None
    assert found["p"][-1] - found["p"][0] == pytest.approx(found["displacement2"], rel=1e-12)
    assert math.expm1(found["log_gradient_growth"][-1]) == pytest.approx(found["gradient_displacement2"])


def test_feed_forward_lengths_and_cosines() -> None:
    words = ("--block", "feed-forward", "--activation", "tanh", "--sw2", 2.5, "--sb2", 0.05)
    found = answer(*words, "--q0", 1, "--c0", 0.9, "--depth", 200)
    assert found["p"][-1] == pytest.approx(1.06395837742, rel=1e-10)
    assert 1 - found["one_minus_e"][-1] == pytest.approx(0.446804232344, abs=1e-6)
    growth = found["log_gradient_growth"]
    assert growth[-1] - growth[-2] == pytest.approx(math.log(1.13351569870), rel=1e-9)
    assert "p" not in answer("--depth", 5)


def test_dropout_drives_equal_inputs_apart() -> None:
    words = ("--block", "feed-forward", "--activation", "tanh", "--sb2", 0.05, "--c0", 1, "--depth", 200)
    assert answer(*words)["one_minus_e"][-1] == 0
    assert answer(*words, "--keep-rate", 0.99)["one_minus_e"][-1] == pytest.approx(1 - 0.969484815603)


def test_refusals() -> None:
    assert "--law white" in refused("--law", "smooth", "--c0", 0.5)
    assert "--law white" in refused("--law", "smooth", "--keep-rate", 0.5)
    assert "--k0" in refused("--k0", 0)
    assert "no residual scale" in refused("--block", "feed-forward", "--beta", 1)


@pytest.mark.parametrize("law", [rs.WhiteNoise(), rs.SmoothNoise(0.3), rs.FractionalNoise(0.7)], ids=str)
def test_displacements_of_layers_are_those_of_their_ends(law: rs.PathLaw) -> None:
    model = rs.Model(rs.TwoLayer(rs.RELU), law, 10)
    ends = meanfield.displacement(model, 2.0, depth=20, every_layer=False)
    layers = meanfield.displacement(model, 2.0, depth=20)
    for name in ("forward", "gradient"):
        last = -1 if name == "forward" else 0
        found, expected = getattr(layers, name)[last], getattr(ends, name)[last]
        assert float(found) == pytest.approx(float(expected), rel=1e-11)
        known = meanfield.displacements(model.block, law, 20, torch.tensor([model.alpha(20)]), 2.0)
        log10 = known.log10_forward if name == "forward" else known.log10_gradient
        assert float(expected) == pytest.approx(10 ** (2 * float(log10)), rel=1e-11)
    assert layers.log_forward == pytest.approx(math.log(float(layers.forward[-1])), abs=1e-11)
    assert float(layers.at_width(10)[0]) == pytest.approx(10 ** (2 * float(known.at_width(10))), rel=1e-10)
    if not law.independent:
        with pytest.raises(ValueError, match="white weights only"):
            meanfield.displacement(model, depth=20, keep_rate=0.5)


def test_the_table_names_what_it_shows() -> None:
    status, output, errors = run("--block", "full", "--c0", 0.5, "--profile", command="kernel")
    assert (status, errors) == (0, "")
    assert "1 − cosine" in output
    assert "log gradient growth" in output
    assert "gradient_displacement2" not in output.splitlines()[0]


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys\n"
        "from resnet_sde.cli import main\n"
        "for words in (['--help'], ['kernel', '--help'], ['study', '--help']):\n"
        "    try:\n"
        "        main(words)\n"
        "    except SystemExit as left:\n"
        "        assert left.code == 0\n"
        "assert not {'torch', 'numpy', 'xarray'} & sys.modules.keys(), 'heavy'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_trivial_requests_bring_little_beyond_torch() -> None:
    """Nothing slow to load: what is imported after torch is named, not timed."""
    code = (
        "import sys, torch\n"
        "from resnet_sde.cli import main\n"
        "slow = {'xarray', 'pandas', 'matplotlib', 'sklearn', 'torchdiffeq', 'torchsde', 'fbm'}\n"
        "for words in (['kernel', '--json'],\n"
        "              ['phase', '--json', '--activation', 'tanh', '--sb2', '0.05'],\n"
        "              ['limit', '--law', 'fractional', '--hurst', '0.3']):\n"
        "    try:\n"
        "        main(words)\n"
        "    except SystemExit:\n"
        "        pass\n"
        "    print('loaded:', *sorted(slow & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    kernel, after_kernel, phase, after_phase, *limit, after_limit = done.stdout.splitlines()
    assert json.loads(kernel)["displacement2"] > 0
    assert json.loads(phase)["phase"] == "ordered"
    assert limit[0].startswith("Regime: critical")
    assert (after_kernel, after_phase) == ("loaded:", "loaded:")
    assert set(after_limit.split()) <= {"loaded:", "torchsde"}


def test_progress_adds_up() -> None:
    """A deep kernel of correlated weights takes long: its layers are told as shares of the work."""
    seen: list[float] = []
    model = rs.Model(rs.TwoLayer(rs.TANH), rs.SmoothNoise(0.1), 40)
    alphas = torch.tensor([model.alpha(30)])
    told = meanfield.displacements(model.block, model.law, 30, alphas, done=seen.append)
    assert len(seen) == 31
    assert sum(seen) == pytest.approx(1.0)
    assert seen == sorted(seen), "deeper layers cost more"
    plain = meanfield.displacements(model.block, model.law, 30, alphas)
    assert told.log10_forward == plain.log10_forward


def test_what_does_not_fit_is_refused_with_its_size() -> None:
    for words in (
        ("--law", "smooth"),
        ("--profile", "--law", "constant"),
        ("--block", "full", "--law", "smooth"),
    ):
        assert "GB; give a smaller depth" in refused("--depth", 10**7, *words)
