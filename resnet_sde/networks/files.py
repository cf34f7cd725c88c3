"""Networks in files: weights as arrays, and what else a `ResNet` is made of; nothing in them is a pickle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resnet_sde import activations
from resnet_sde.activations import Activation
from resnet_sde.networks.modules import ResNet
from resnet_sde.networks.residual import Layers
from resnet_sde.runs.store import Record, read_record, write_record

SUFFIX = ".npz"
_WHAT = "network of resnet_sde"
_KNOWN = (
    *("Linear", "ReLU", "LeakyReLU", "Tanh", "Erf", "Gelu", "Sigmoid", "AlphaReLU"),
    *("Silu", "Softplus", "Elu", "Selu", "Mish", "HardTanh", "Sin"),
)
_PROBES = (-2.3, -0.9, -0.1, 0.2, 0.8, 1.7)
_DTYPES = {str(dtype): dtype for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)}


def save(network: ResNet, path: str | Path, *, note: Mapping[str, Any] | None = None) -> None:
    """Write a network into one file, with a checksum; `load` gives it back.

    Args:
        network: any; of parametrized weights their values.
        path: ends with .npz; a leading ~ is the home folder.
        note: more to be kept in the file, as JSON.

    Raises:
        ValueError: the path ends otherwise.
        OSError: the file cannot be written.
    """
    file = _file(path)
    state = {"alpha": network.alpha, **network.tensors()}
    identity = {
        "what": _WHAT,
        "activation": _described(network.activation),
        "skip": network.skip,
        **({} if network.norm is None else {"norm": network.norm}),
        "activated": network.activated,
        "dtype": str(network.alpha.dtype),
        "shapes": {name: list(value.shape) for name, value in state.items()},
    }
    arrays = {name: _array(value) for name, value in state.items()}
    write_record(file, identity, Record(arrays, dict(note or {})))


def load(
    path: str | Path, *, activation: Activation | None = None, device: torch.device | str = "cpu"
) -> ResNet:
    """The network of a file that `save` or ``resnet-sde train --out`` wrote.

    Args:
        path: of the file.
        activation: φ, where it is one of your own; files keep no code.
        device: where the network is to live.

    Raises:
        ValueError: the file is damaged or no network, or the activation is not the one that it was saved
            with.
        OSError: it cannot be read.

    Example:
        >>> import tempfile
        >>> from resnet_sde import RELU, Model, SingleLayer, WhiteNoise
        >>> net = ResNet(Model(SingleLayer(RELU), WhiteNoise(), width=8), 20, 64, 10)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(net, f"{folder}/net.npz")
        ...     twin = load(f"{folder}/net.npz")
        >>> torch.equal(twin(torch.ones(1, 64)), net(torch.ones(1, 64)))
        True
    """
    file = _file(path)
    identity, record = read_record(file)
    if identity.get("what") != _WHAT:
        raise ValueError(f"{file} is a record of something else; give a file that networks.save wrote")
    phi = _activation(file, identity["activation"], activation)
    dtype = _DTYPES[identity["dtype"]]
    tensors = {
        name: torch.from_numpy(value.copy()).to(device, dtype) for name, value in record.arrays.items()
    }
    alpha = tensors.pop("alpha")
    layers = Layers(phi, identity["skip"], identity.get("norm"))
    return ResNet.of_tensors(layers, alpha, tensors, activated=identity["activated"])


def _file(path: str | Path) -> Path:
    file = Path(path).expanduser()
    if file.suffix != SUFFIX:
        raise ValueError(f"a network is kept in a file that ends with {SUFFIX}, got {str(path)!r}; rename it")
    return file


def _array(value: Tensor) -> np.ndarray:
    value = value.detach().cpu()
    array: np.ndarray = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    return array


def _described(phi: Activation) -> dict[str, Any]:
    """The name of an activation, its fields if it is ours, and some of its values, to tell it from others."""
    ours = type(phi).__name__ in _KNOWN and type(phi) is getattr(activations, type(phi).__name__)
    values = phi(torch.tensor(_PROBES, dtype=torch.float64, device="cpu")).tolist()
    fields = asdict(phi) if ours else None  # type: ignore[call-overload]
    return {"name": type(phi).__name__, "fields": fields, "values": values}


def _activation(file: Path, kept: Mapping[str, Any], given: Activation | None) -> Activation:
    """The activation of a file, which is the given one if there is one."""
    phi = given
    if phi is None:
        if kept["fields"] is None:
            raise ValueError(f"{file} has an activation of your own, {kept['name']}; give it as activation=")
        phi = getattr(activations, kept["name"])(**kept["fields"])
    found = np.array(_described(phi)["values"])
    if not np.allclose(found, kept["values"], rtol=1e-9, atol=1e-12):
        raise ValueError(f"{file} has another activation than {phi}; give {kept['name']} as it was")
    return phi
