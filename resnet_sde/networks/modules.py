"""Networks that can be trained, drawn from a `Model`: one of them, or a stack of many."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real

import torch
from torch import Tensor, nn

from resnet_sde.activations import Activation
from resnet_sde.checks import check_device, check_memory, positive_integer
from resnet_sde.model import Model
from resnet_sde.networks.claims import MATRICES, check_block, scaled, variances_of
from resnet_sde.networks.residual import Layers, Weights
from resnet_sde.streams import Stream, stream


@dataclass(frozen=True)
class ReadInOut:
    """What surrounds the layers: h_0 = A x + a, and the outputs B h_L + b or B φ(h_L) + b.

    embed_w2, embed_b2: variances of A (times n_in) and of a; embed_w2 None for no such layer, h_0 = x.
    readout_w2, readout_b2: the same for B (times the width) and b.
    activated: whether the readout reads φ(h_L).

    Raises:
        ValueError: a variance is no finite number from 0 on.
    """

    embed_w2: float | None = 1.0
    embed_b2: float = 0.0
    readout_w2: float = 1.0
    readout_b2: float = 0.0
    activated: bool = False

    def __post_init__(self) -> None:
        for name in ("embed_w2", "embed_b2", "readout_w2", "readout_b2"):
            value = getattr(self, name)
            if name == "embed_w2" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) < math.inf:
                raise ValueError(
                    f"{name} is a variance: it must be finite and not negative, got {value!r}; give for "
                    "example 1"
                )
        if not isinstance(self.activated, bool):
            raise ValueError(f"activated must be True or False, got {self.activated!r}; give True for φ(h_L)")

    @classmethod
    def of(cls, model: Model) -> ReadInOut:
        """What surrounds the layers of a model.

        Those of feed-forward networks are like their layers. Those of residual networks have A and B of
        variance 1 and biases that start at 0, and the readout reads h_L itself.
        """
        if model.skip != 0.0:
            return cls()
        weight, bias = variances_of(model.block)["outer" if "outer" in model.block.shapes(1) else "inner"]
        return cls(weight, bias, weight, bias, activated=True)


class ResNet(nn.Module):
    """A network drawn from a model: x → h_0 → L residual layers → outputs.

    The path of a matrix along depth is one parameter, `outer` or `inner`, (depth, in, out): the weights as
    layers use them, σ V / √d, so that a learning rate means what it means for `nn.Linear`. Their biases are
    `outer_bias` and `inner_bias`, (depth, out). Around the layers are `embed`, (n_in, width), and `readout`,
    (width, n_out), with biases. The buffer `alpha` is α_L.

    The weights are those of ``model.draw(depth, samples=1, seed=seed)``.

    Args:
        model: the law of the layers.
        depth: number of residual layers.
        n_in, n_out: dimensions of inputs and outputs.
        seed: a non-negative integer.
        read_in_out: what surrounds the layers; `ReadInOut.of(model)` if None.
        biases: give every layer biases, which start at 0 where the block has none.

    Raises:
        ValueError: a number is out of range, or there is no input layer and n_in is not the width.

    Example:
        >>> from resnet_sde import RELU, Model, SingleLayer, WhiteNoise
        >>> net = ResNet(Model(SingleLayer(RELU), WhiteNoise(), width=8), 20, 64, 10, seed=0)
        >>> net.outer.shape, net(torch.zeros(5, 64)).shape
        (torch.Size([20, 8, 8]), torch.Size([5, 10]))
    """

    alpha: Tensor

    def __init__(
        self,
        model: Model,
        depth: int,
        n_in: int,
        n_out: int,
        *,
        seed: int = 0,
        read_in_out: ReadInOut | None = None,
        biases: bool = False,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        dtype, device = _checked([model], read_in_out, dtype), check_device(device)
        sizes = _sizes(depth, n_in, n_out)
        read_in_out = read_in_out or ReadInOut.of(model)
        self._layers, self._activated = Layers(model.block.activation, model.skip), read_in_out.activated
        drawn = _draw(
            model, *sizes, seed=seed, read_in_out=read_in_out, biases=biases, dtype=dtype, device=device
        )
        self.register_buffer("alpha", torch.tensor(model.alpha(sizes[0]), dtype=dtype, device=device))
        self._names = tuple(drawn)
        for name, value in drawn.items():
            self.register_parameter(name, nn.Parameter(value))

    @classmethod
    def of_tensors(
        cls, layers: Layers, alpha: Tensor, tensors: Mapping[str, Tensor], *, activated: bool
    ) -> ResNet:
        """The network of these weights, by their names; what else it is made of is not drawn, but given."""
        net = cls.__new__(cls)
        nn.Module.__init__(net)
        net._layers, net._activated, net._names = layers, activated, tuple(tensors)
        net.register_buffer("alpha", alpha)
        for name, value in tensors.items():
            net.register_parameter(name, nn.Parameter(value))
        return net

    @property
    def activation(self) -> Activation:
        """φ."""
        return self._layers.activation

    @property
    def skip(self) -> float:
        """The weight of the identity branch."""
        return self._layers.skip

    @property
    def activated(self) -> bool:
        """Whether the readout reads φ(h_L)."""
        return self._activated

    def tensors(self) -> dict[str, Tensor]:
        """The weights by name, as layers use them now."""
        return {name: value.detach() for name, value in _parameters(self, self._names).items()}

    def forward(self, x: Tensor, *, masks: Tensor | None = None) -> Tensor:
        """Outputs, (..., n_out), of inputs (..., n_in).

        Args:
            masks: factors on φ in each layer, and at a readout that reads φ, see `dropout_masks`; (depth + 1,
                width, input), of all inputs in a row.
        """
        parameters = {name: value[None] for name, value in _parameters(self, self._names).items()}
        if x.dim() == 0:
            raise ValueError("one number is no input; give (..., n_in)")
        rows, masks = x.reshape(1, -1, x.shape[-1]), None if masks is None else masks[:, None]
        found = _outputs(self._layers, parameters, self.alpha[None], rows, masks, self._activated)[0]
        return found.reshape(*x.shape[:-1], found.shape[-1])


class StackedResNets(nn.Module):
    """Many networks as one module, with one batched product a layer.

    They may differ in law, β, gain, variances and seed. Parameters and buffers are those of `ResNet` with a
    leading axis member. Every network computes what it would alone, up to the rounding of batched products,
    whatever its neighbours do.

    Args:
        models: one for each member, with the same kind of block, activation, width and skip.
        seeds: one for each member.
        depth, n_in, n_out, read_in_out, biases: as in `ResNet`.

    Raises:
        ValueError: as in `ResNet`, there is no model, or models and seeds cannot be stacked.

    Example:
        >>> from resnet_sde import RELU, Model, SingleLayer, WhiteNoise
        >>> models = [Model(SingleLayer(RELU), WhiteNoise(), width=8, beta=beta) for beta in (0.5, 1.0)]
        >>> stack = StackedResNets(models, 20, 64, 10, seeds=[0, 0])
        >>> stack(torch.zeros(5, 64)).shape
        torch.Size([2, 5, 10])
    """

    alpha: Tensor

    def __init__(
        self,
        models: Sequence[Model],
        depth: int,
        n_in: int,
        n_out: int,
        *,
        seeds: Sequence[int],
        read_in_out: ReadInOut | None = None,
        biases: bool = False,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        if not models or len(models) != len(seeds):
            raise ValueError(
                f"a stack has one seed for each model and at least one, got {len(models)} models and "
                f"{len(seeds)} seeds; give as many seeds as models"
            )
        dtype, device = _checked(models, read_in_out, dtype), check_device(device)
        kinds = {structure(model, biases) for model in models}
        if len(kinds) > 1:
            raise ValueError(
                f"these models have layers of {len(kinds)} different shapes or forms; stack models with the "
                "same kind of block, activation, width, skip and biases"
            )
        sizes = _sizes(depth, n_in, n_out)
        self._layers = Layers(models[0].block.activation, models[0].skip)
        self._activated = (read_in_out or ReadInOut.of(models[0])).activated
        alphas = torch.tensor([model.alpha(sizes[0]) for model in models], dtype=dtype, device=device)
        self.register_buffer("alpha", alphas)
        for i, (model, seed) in enumerate(zip(models, seeds, strict=True)):
            drawn = _draw(
                model, *sizes, seed=seed, read_in_out=read_in_out, biases=biases, dtype=dtype, device=device
            )
            if i == 0:
                needed = len(models) * sum(value.numel() * value.element_size() for value in drawn.values())
                check_memory(f"{len(models)} such networks", needed, "give fewer, or smaller ones", device)
            self._names = tuple(drawn)
            for name, value in drawn.items():
                if i == 0:
                    self.register_parameter(name, nn.Parameter(value.new_empty(len(models), *value.shape)))
                self.get_parameter(name).data[i] = value

    def __len__(self) -> int:
        return len(self.alpha)

    def forward(self, x: Tensor, *, masks: Tensor | None = None) -> Tensor:
        """Outputs, (member, input, n_out), of inputs (member, input, n_in), or (input, n_in) for all members.

        Args:
            masks: as in `ResNet`, (depth + 1, member, width, input).
        """
        x = x.expand(len(self), *x.shape) if x.dim() == 2 else x
        if x.dim() != 3 or len(x) != len(self):
            raise ValueError(
                f"a stack of {len(self)} networks takes inputs (input, n_in), or ({len(self)}, input, n_in), "
                f"but got shape {tuple(x.shape)}; give one of these"
            )
        parameters = _parameters(self, self._names)
        return _outputs(self._layers, parameters, self.alpha, x, masks, self._activated)

    def member_state(self, member: int) -> dict[str, Tensor]:
        """The state dict of one network, a copy, which a `ResNet` of the same shapes can load."""
        return {name: value[member].detach().clone() for name, value in self.state_dict().items()}

    def network(self, member: int) -> ResNet:
        """One member as a network of its own; it shares no memory with the stack."""
        state = self.member_state(member)
        alpha = state.pop("alpha")
        layers = Layers(self._layers.activation, self._layers.skip)
        return ResNet.of_tensors(layers, alpha, state, activated=self._activated)

    def recycle(self) -> None:
        """Give up all gradients; their memory is used again by the next backward pass.

        Whoever keeps a gradient beyond this must have copied it.
        """
        for parameter in self.parameters():
            if parameter.grad is not None:
                self._layers.pool.give(parameter.grad)
                parameter.grad = None


def structure(model: Model, biases: bool = False) -> tuple[object, ...]:
    """What the models of a stack must share."""
    variances = variances_of(model.block)
    with_bias = tuple(biases or variances[name][1] > 0 for name in model.block.shapes(1))
    return type(model.block), model.block.activation, model.width, model.skip, with_bias


def dropout_masks(shape: tuple[int, ...], keep_rate: float, source: Stream, like: Tensor) -> Tensor:
    """Factors that keep each number with probability `keep_rate` and then divide it by that rate."""
    uniform = source.uniform_(torch.empty(shape, dtype=like.dtype, device=like.device))
    threshold = math.sqrt(3.0) * (2.0 * keep_rate - 1.0)  # these numbers are uniform on (−√3, √3)
    return (uniform < threshold).to(like.dtype).div_(keep_rate)


def _parameters(module: nn.Module, names: tuple[str, ...]) -> dict[str, Tensor]:
    """The parameters as they are now, which may be computed from others; a bias may have been removed."""
    found = {name: getattr(module, name) for name in names}
    for name, value in found.items():
        if value is None and not name.endswith("bias"):
            raise ValueError(f"the parameter {name} was removed; a network cannot do without")
    return {name: value for name, value in found.items() if value is not None}


def _outputs(
    layers: Layers,
    parameters: Mapping[str, Tensor],
    alpha: Tensor,
    x: Tensor,
    masks: Tensor | None,
    activated: bool,
) -> Tensor:
    """Outputs of every member, (member, input, n_out); inside, inputs are the last axis."""
    h = x.mT
    n_in = parameters["embed"].shape[-2] if "embed" in parameters else parameters["readout"].shape[-2]
    if h.shape[-2] != n_in:
        raise ValueError(f"inputs have dimension {h.shape[-2]}, but the network takes {n_in}; give that")
    if "embed" in parameters:
        h = _affine(parameters, "embed", h)
    weights = Weights(*(parameters.get(name) for name in Weights._fields))
    if masks is not None and masks.shape != (weights.depth + 1, *h.shape):
        raise ValueError(
            f"masks of shape {tuple(masks.shape)} are not one for every layer and the readout; give shape "
            f"{(weights.depth + 1, *h.shape)}"
        )
    h = layers(h, alpha, weights, None if masks is None else masks[:-1])
    if activated:
        h = layers.activation(h)
        h = h if masks is None else h * masks[-1]
    return _affine(parameters, "readout", h).mT


def _affine(parameters: Mapping[str, Tensor], name: str, h: Tensor) -> Tensor:
    matrix, bias = parameters[name].mT, parameters.get(f"{name}_bias")
    return torch.bmm(matrix, h) if bias is None else torch.baddbmm(bias[..., None], matrix, h)


def _draw(
    model: Model,
    depth: int,
    n_in: int,
    n_out: int,
    *,
    seed: int,
    read_in_out: ReadInOut | None,
    biases: bool,
    dtype: torch.dtype,
    device: torch.device | str,
) -> dict[str, Tensor]:
    """The parameters of one network by name, in a fixed order."""
    read_in_out = read_in_out or ReadInOut.of(model)
    width, drawn = model.width, {}
    source = stream(seed, "ends", n_in, width, n_out, device=device)

    def end(name: str, rows: int, columns: int, weight: float, bias: float) -> None:
        numbers = source.normal_(torch.empty(rows + 1, columns, dtype=dtype, device=device))
        drawn[name], drawn[f"{name}_bias"] = (
            numbers[:rows] * math.sqrt(weight / rows),
            numbers[rows] * bias**0.5,
        )

    if read_in_out.embed_w2 is not None:
        end("embed", n_in, width, read_in_out.embed_w2, read_in_out.embed_b2)
    elif n_in != width:
        raise ValueError(f"without an input layer n_in is the width, got {n_in} and {width}; give embed_w2")
    paths = model.draw(depth, samples=1, seed=seed, dtype=dtype, device=device).matrices
    for name in (name for name in MATRICES if name in paths):
        path = paths[name].weights(depth)[:, 0]
        drawn |= scaled(name, path, variances_of(model.block)[name], width, biases)
    end("readout", width, n_out, read_in_out.readout_w2, read_in_out.readout_b2)
    return drawn


def _checked(
    models: Sequence[Model], read_in_out: ReadInOut | None, dtype: torch.dtype | None
) -> torch.dtype:
    """The dtype of networks, once it is known that they are some."""
    for model in models:
        if not isinstance(model, Model):
            raise ValueError(f"a network is drawn from a Model, got {type(model).__name__}; give one")
    for block in {id(model.block): model.block for model in models}.values():
        check_block(block)
    if read_in_out is not None and not isinstance(read_in_out, ReadInOut):
        raise ValueError(
            f"read_in_out must be None or ReadInOut, got {type(read_in_out).__name__}; give "
            "networks.ReadInOut"
        )
    dtype = dtype or torch.get_default_dtype()
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(f"weights are real numbers, got dtype {dtype}; give for example torch.float32")
    return dtype


def _sizes(depth: int, n_in: int, n_out: int) -> tuple[int, int, int]:
    given = {"depth": depth, "n_in": n_in, "n_out": n_out}
    found = [positive_integer(name, value, "give for example 10") for name, value in given.items()]
    return found[0], found[1], found[2]
