"""EcoTTA's surgery: a frozen encoder in parts, each corrected by a small network that adapts.

Song et al., CVPR 2023, "EcoTTA: Memory-Efficient Continual Test-time Adaptation via Self-distilled Regularization",
section 3.1.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn.utils.fusion import fuse_conv_bn_eval

from toolchain.errors import ModelError

SHARES = (1, 1, 2, 2)
"""How the blocks are dealt out to the K = 4 parts: with this the paper's own models are split as in its section 4."""

META = "meta_networks"
"""The module that holds the meta networks; all else of the model is frozen."""


class MetaNetwork(nn.Module):
    """x̃ₖ = BN(xₖ) + ReLU(BN'(Conv(x̃ₖ₋₁))), where x̃ₖ₋₁ enters a part and xₖ leaves it."""

    def __init__(self, before: Sequence[int], after: Sequence[int], kernel: int) -> None:
        """before, after: the shapes [N, C, H, W] of x̃ₖ₋₁ and xₖ."""
        super().__init__()
        stride = -(-before[2] // after[2])
        self.conv = nn.Conv2d(before[1], after[1], kernel, stride, padding=kernel // 2, bias=False)
        self.conv_norm = nn.BatchNorm2d(after[1])
        self.relu = nn.ReLU()
        self.norm = nn.BatchNorm2d(after[1])

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        """x̃ₖ₋₁ and xₖ to x̃ₖ."""
        corrected: Tensor = self.norm(after) + self.relu(self.conv_norm(self.conv(before)))
        return corrected


class ChannelMap(nn.Module):
    """A BatchNorm with fixed statistics, as a product and a sum: its backward pass needs no activation."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        assert norm.running_mean is not None and norm.running_var is not None
        scale = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
        shift = norm.bias.detach() - norm.running_mean * scale
        self.weight, self.bias = (nn.Parameter(value[:, None, None]) for value in (scale, shift))

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the same."""
        return x * self.weight + self.bias


def with_meta_networks(model: nn.Module, image_size: int) -> nn.Module:
    """A copy of the model in evaluation mode, with a meta network behind each part and every BatchNorm folded away.

    The meta networks are its modules `meta_networks.0`, `meta_networks.1`, ...; their values are torch's initial ones.
    Raises ModelError where the model has too few residual blocks, or its forward pass depends on its input.
    """
    copied = copy.deepcopy(model).eval()
    parts = parts_of(copied)
    traced = _trace(copied, type(parts[0][0]))
    ShapeProp(traced).propagate(torch.zeros(1, 3, image_size, image_size))
    names = {module: name for name, module in copied.named_modules()}
    traced.add_module(META, nn.ModuleList())
    for part in parts:
        _correct(traced, names[part[0]], names[part[-1]], kernel=_convolutions(part[0])[0].kernel_size[0])
    traced.recompile()
    return _folded(_trace(traced, MetaNetwork)).eval()


def meta_networks(model: nn.Module) -> list[MetaNetwork]:
    """Those of a model, from the image to the logits."""
    return [module for module in model.modules() if isinstance(module, MetaNetwork)]


def parts_of(model: nn.Module) -> list[list[nn.Module]]:
    """The residual blocks, dealt out by SHARES: up to each part the share of all, rounded up."""
    blocks = list(_blocks(model))
    if len(blocks) < len(SHARES):
        raise ModelError(
            f"ecotta needs a network of at least {len(SHARES)} residual blocks in sequence, and this one has "
            f"{len(blocks)}: choose another method"
        )
    ends = [math.ceil(len(blocks) * sum(SHARES[:part]) / sum(SHARES)) for part in range(len(SHARES) + 1)]
    return [blocks[start:end] for start, end in pairwise(ends)]


def _blocks(model: nn.Module) -> Iterator[nn.Module]:
    """Modules in a sequence, all of one class, of two convolutions or more each."""
    found = [
        block
        for sequence in model.modules()
        if isinstance(sequence, nn.Sequential)
        for block in sequence
        if not isinstance(block, nn.Sequential) and len(_convolutions(block)) > 1
    ]
    return (block for block in found if type(block) is type(found[0]))


def _convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [part for part in module.modules() if isinstance(part, nn.Conv2d)]


def _trace(model: nn.Module, whole: type[nn.Module]) -> fx.GraphModule:
    """The model as a graph, in which modules of the class `whole` are one node each."""

    class Tracer(fx.Tracer):
        def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
            return isinstance(m, whole) or super().is_leaf_module(m, module_qualified_name)

    try:
        return fx.GraphModule(model, Tracer().trace(model))
    except (fx.proxy.TraceError, TypeError) as error:
        raise ModelError(f"ecotta cannot split this model ({error}): choose another method") from error


def _correct(traced: fx.GraphModule, first: str, last: str, kernel: int) -> None:
    """Puts a meta network behind the part from block `first` to block `last`. kernel: of its convolution."""
    calls = {node.target: node for node in traced.graph.nodes if node.op == "call_module"}
    before, after = calls[first].args[0], calls[last]
    networks = traced.get_submodule(META)
    assert isinstance(before, fx.Node) and isinstance(networks, nn.ModuleList)
    networks.append(MetaNetwork(_shape(before), _shape(after), kernel))
    with traced.graph.inserting_after(after):
        corrected = traced.graph.call_module(f"{META}.{len(networks) - 1}", (before, after))
    corrected.meta = after.meta
    after.replace_all_uses_with(corrected, delete_user_cb=lambda user: user is not corrected)


def _shape(node: fx.Node) -> Sequence[int]:
    shape: Sequence[int] = node.meta["tensor_meta"].shape
    return shape


def _folded(traced: fx.GraphModule) -> fx.GraphModule:
    """Without any BatchNorm but those of the meta networks."""
    modules = dict(traced.named_modules())
    for node in list(traced.graph.nodes):
        norm = modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(norm, nn.BatchNorm2d):
            _fold(traced, node, norm, modules)
    traced.graph.lint()
    traced.recompile()
    traced.delete_all_unused_submodules()
    return traced


def _fold(traced: fx.GraphModule, node: fx.Node, norm: nn.BatchNorm2d, modules: dict[str, nn.Module]) -> None:
    source = node.args[0]
    convolution = modules.get(str(source.target)) if isinstance(source, fx.Node) else None
    if not isinstance(source, fx.Node) or not isinstance(convolution, nn.Conv2d) or len(source.users) > 1:
        traced.set_submodule(str(node.target), ChannelMap(norm))
        return
    traced.set_submodule(str(source.target), fuse_conv_bn_eval(convolution, norm))
    node.replace_all_uses_with(source)
    traced.graph.erase_node(node)
