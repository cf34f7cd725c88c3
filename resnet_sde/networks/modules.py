"""Networks that can be trained, drawn from a `Model`: one of them, or a stack of many."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from resnet_sde.activations import Activation
from resnet_sde.checks import check_device, check_memory
from resnet_sde.model import Model
from resnet_sde.networks.blocks import ResidualBlock, as_made, blocks_of
from resnet_sde.networks.claims import variances_of
from resnet_sde.networks.drawing import ReadInOut, checked_dtype, checked_sizes, draw_parameters
from resnet_sde.networks.residual import Layers, Weights
from resnet_sde.streams import Stream


class Network(nn.Module):
    """What `ResNet` and `StackedResNets` have in common.

    Attributes:
        blocks: the residual layers, to put hooks on; modules without parameters, which take and give states
            (..., width). Layers run one after the other through them as long as one has a hook, is another
            module or was taken out, and all at once otherwise; the numbers are the same up to rounding.
    """

    alpha: Tensor
    blocks: nn.ModuleList
    _axes = 0  # of members, before the others of every parameter

    def _hold(self, layers: Layers, alpha: Tensor, tensors: Mapping[str, Tensor], *, activated: bool) -> None:
        self._layers, self._activated, self._names = layers, activated, tuple(tensors)
        self._running: list[Weights] | None = None
        self.register_buffer("alpha", alpha)
        for name, value in tensors.items():
            self.register_parameter(name, nn.Parameter(value))
        self.blocks = blocks_of(self, self._weights(self._members()).depth)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for block in self.modules():
            if isinstance(block, ResidualBlock) and block.alone:
                block.belong_to(self)

    def extra_repr(self) -> str:
        """What a network is made of."""
        held = {name: value for name in self._names if (value := getattr(self, name, None)) is not None}
        matrices = [name for name in ("inner", "outer") if name in held]
        of_layers = held[matrices[-1]].shape if matrices else (0, 0, 0)
        n_in = held["embed"].shape[-2] if "embed" in held else of_layers[-1]
        alphas = sorted({f"{value:.4g}" for value in self.alpha.detach().flatten().tolist()}, key=float)
        said = {
            **({"members": len(self.alpha)} if self._axes else {}),
            "block": {"inner": "Reduced", "outer": "SingleLayer"}.get("".join(matrices), "TwoLayer"),
            "activation": self._layers.activation,
            "depth": of_layers[-3],
            "width": of_layers[-1],
            **(
                {"hidden_width": of_layers[-2]}
                if len(matrices) == 2 and of_layers[-1] != of_layers[-2]
                else {}
            ),
            "alpha": alphas[0] if len(alphas) == 1 else f"{alphas[0]} … {alphas[-1]}",
            "skip": f"{self._layers.skip:g}",
            **({} if self._layers.norm is None else {"norm": self._layers.norm}),
            "n_in": n_in,
            "n_out": held["readout"].shape[-1] if "readout" in held else None,
            "biases": any(name in held for name in ("inner_bias", "outer_bias")),
        }
        return ", ".join(f"{name}={value}" for name, value in said.items())

    def step(self, layer: int, h: Tensor, mask: Tensor | None = None) -> Tensor:
        """The states that a layer puts out, from those that it starts from; as `blocks` run it.

        Shape: h and result (..., width), of many networks (member, input, width); mask as h.
        """
        each = self._weights(self._members()).each() if self._running is None else self._running
        own, alpha = each[layer], self.alpha.reshape(-1, 1, 1)
        rows = h if self._axes else h.reshape(1, -1, h.shape[-1])
        mask = None if mask is None else mask.reshape(rows.shape).mT[None]
        return self._layers.plain(rows.mT, alpha, own, mask).mT.reshape(h.shape)

    def _members(self) -> dict[str, Tensor]:
        """The parameters as they are now, with an axis of members; they may be computed from others.

        A bias may have been removed.
        """
        found = {name: getattr(self, name) for name in self._names}
        for name, value in found.items():
            if value is None and not name.endswith("bias"):
                raise ValueError(f"the parameter {name} was removed; a network cannot do without")
        given = {name: value for name, value in found.items() if value is not None}
        return given if self._axes else {name: value[None] for name, value in given.items()}

    @staticmethod
    def _weights(parameters: Mapping[str, Tensor]) -> Weights:
        return Weights(*(parameters.get(name) for name in Weights._fields))

    def _outputs(self, x: Tensor, masks: Tensor | None) -> Tensor:
        """Outputs of every member, (member, input, n_out), or (..., n_out) of one network.

        Args:
            x: inputs, (member, input, n_in), or (..., n_in) of one network.
            masks: (depth + 1, member, width, input).
        """
        parameters = self._members()
        h = (x if self._axes else x.reshape(1, -1, x.shape[-1])).mT
        n_in = parameters["embed"].shape[-2] if "embed" in parameters else parameters["readout"].shape[-2]
        if h.shape[-2] != n_in:
            raise ValueError(f"inputs have dimension {h.shape[-2]}, but the network takes {n_in}; give that")
        if "embed" in parameters:
            h = _affine(parameters, "embed", h)
        weights = self._weights(parameters)
        if masks is not None and weights.inner is not None and weights.inner.shape[-1] != h.shape[-2]:
            raise ValueError(
                f"masks act on as many numbers as a state has, {h.shape[-2]}, and φ meets "
                f"{weights.inner.shape[-1]} in these layers; leave them out"
            )
        if masks is not None and masks.shape != (weights.depth + 1, *h.shape):
            raise ValueError(
                f"masks of shape {tuple(masks.shape)} are not one for every layer and the readout; give "
                f"shape {(weights.depth + 1, *h.shape)}"
            )
        if as_made(self.blocks, weights.depth):
            h = self._layers(h, self.alpha.reshape(-1), weights, None if masks is None else masks[:-1])
        else:
            rows = h.mT if self._axes else h.mT.reshape(*x.shape[:-1], h.shape[-2])
            h = self._through_blocks(rows, weights, masks).reshape(h.mT.shape).mT
        if self._activated:
            h = self._layers.activation(h)
            h = h if masks is None else h * masks[-1]
        found = _affine(parameters, "readout", h).mT
        return found if self._axes else found.reshape(*x.shape[:-1], found.shape[-1])

    def _through_blocks(self, h: Tensor, weights: Weights, masks: Tensor | None) -> Tensor:
        """h_L through the blocks that there are, which ask for their weights as they are in this pass."""
        before, self._running = self._running, weights.each()
        try:
            for k, block in enumerate(self.blocks):
                h = block(h) if masks is None else block(h, masks[k].mT.reshape(h.shape))
        finally:
            self._running = before
        return h


class ResNet(Network):
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
        dtype, device = checked_dtype([model], read_in_out, dtype), check_device(device)
        sizes = checked_sizes(depth, n_in, n_out)
        read_in_out = read_in_out or ReadInOut.of(model)
        drawn = draw_parameters(
            model, *sizes, seed=seed, read_in_out=read_in_out, biases=biases, dtype=dtype, device=device
        )
        alpha = torch.tensor(model.alpha(sizes[0]), dtype=dtype, device=device)
        layers = Layers(model.block.activation, model.skip, model.norm)
        self._hold(layers, alpha, drawn, activated=read_in_out.activated)

    @classmethod
    def of_tensors(
        cls, layers: Layers, alpha: Tensor, tensors: Mapping[str, Tensor], *, activated: bool
    ) -> ResNet:
        """The network of these weights, by their names; what else it is made of is not drawn, but given."""
        net = cls.__new__(cls)
        nn.Module.__init__(net)
        net._hold(layers, alpha, tensors, activated=activated)
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
    def norm(self) -> str | None:
        """The normalization of every layer's sum, as `Model` has it."""
        return self._layers.norm

    @property
    def activated(self) -> bool:
        """Whether the readout reads φ(h_L)."""
        return self._activated

    def tensors(self) -> dict[str, Tensor]:
        """The weights by name, as layers use them now."""
        return {name: value[0].detach() for name, value in self._members().items()}

    def forward(self, x: Tensor, *, masks: Tensor | None = None) -> Tensor:
        """Outputs, (..., n_out), of inputs (..., n_in).

        Args:
            masks: factors on φ in each layer, and at a readout that reads φ, see `dropout_masks`; (depth + 1,
                width, input), of all inputs in a row.
        """
        if x.dim() == 0:
            raise ValueError("one number is no input; give (..., n_in)")
        return self._outputs(x, None if masks is None else masks[:, None])


class StackedResNets(Network):
    """Many networks as one module, with one batched product a layer.

    They may differ in law, β, gain, variances and seed. Parameters and buffers are those of `ResNet` with a
    leading axis member. Every network computes what it would alone, up to the rounding of batched products,
    whatever its neighbours do.

    Args:
        models: one for each member, with the same kind of block, activation, width, skip and norm.
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

    _axes = 1

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
        dtype, device = checked_dtype(models, read_in_out, dtype), check_device(device)
        kinds = {structure(model, biases) for model in models}
        if len(kinds) > 1:
            raise ValueError(
                f"these models have layers of {len(kinds)} different shapes or forms; stack models with the "
                "same kind of block, activation, width, skip, norm and biases"
            )
        sizes = checked_sizes(depth, n_in, n_out)
        alphas = torch.tensor([model.alpha(sizes[0]) for model in models], dtype=dtype, device=device)
        tensors: dict[str, Tensor] = {}
        for i, (model, seed) in enumerate(zip(models, seeds, strict=True)):
            drawn = draw_parameters(
                model, *sizes, seed=seed, read_in_out=read_in_out, biases=biases, dtype=dtype, device=device
            )
            if i == 0:
                needed = len(models) * sum(value.numel() * value.element_size() for value in drawn.values())
                check_memory(f"{len(models)} such networks", needed, "give fewer, or smaller ones", device)
                tensors = {name: value.new_empty(len(models), *value.shape) for name, value in drawn.items()}
            for name, value in drawn.items():
                tensors[name][i] = value
        layers = Layers(models[0].block.activation, models[0].skip, models[0].norm)
        self._hold(layers, alphas, tensors, activated=(read_in_out or ReadInOut.of(models[0])).activated)

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
        return self._outputs(x, masks)

    def member_state(self, member: int) -> dict[str, Tensor]:
        """The state dict of one network, a copy, which a `ResNet` of the same shapes can load."""
        return {name: value[member].detach().clone() for name, value in self.state_dict().items()}

    def network(self, member: int) -> ResNet:
        """One member as a network of its own; it shares no memory with the stack."""
        state = self.member_state(member)
        alpha = state.pop("alpha")
        layers = Layers(self._layers.activation, self._layers.skip, self._layers.norm)
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
    shapes = model.block.shapes(model.width)
    form = tuple((out, biases or variances[name][1] > 0) for name, (_, out) in shapes.items())
    return type(model.block), model.block.activation, model.width, model.skip, model.norm, form


def dropout_masks(shape: tuple[int, ...], keep_rate: float, source: Stream, like: Tensor) -> Tensor:
    """Factors that keep each number with probability `keep_rate` and then divide it by that rate."""
    uniform = source.uniform_(torch.empty(shape, dtype=like.dtype, device=like.device))
    threshold = math.sqrt(3.0) * (2.0 * keep_rate - 1.0)  # these numbers are uniform on (−√3, √3)
    return (uniform < threshold).to(like.dtype).div_(keep_rate)


def _affine(parameters: Mapping[str, Tensor], name: str, h: Tensor) -> Tensor:
    matrix, bias = parameters[name].mT, parameters.get(f"{name}_bias")
    return torch.bmm(matrix, h) if bias is None else torch.baddbmm(bias[..., None], matrix, h)
