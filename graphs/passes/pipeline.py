"""The rewrites of a training graph, in order."""

from onnx_ir.passes.common import IdentityEliminationPass, RemoveUnusedNodesPass

from graphs.layers import Layer
from graphs.passes.accumulate_early import AccumulateEarly
from graphs.passes.center_batchnorm import CenterBatchNorm
from graphs.passes.drop_accumulation import DropAccumulation
from graphs.passes.free_frozen_conv_input import FreeFrozenConvInput
from graphs.passes.lower_batchnorm import LowerBatchNorm
from graphs.passes.lower_batchnorm_gradient import LowerBatchNormGradient
from graphs.passes.lower_conv_gradient import LowerConvGradient
from graphs.passes.lower_softmax_gradient import LowerSoftmaxGradient
from graphs.passes.lower_training_operators import LowerTrainingOperators
from graphs.passes.mask_relu import MaskRelu
from graphs.passes.measure_gradients import MeasureGradients
from graphs.passes.pack_masks import PackMasks
from graphs.passes.rewrite import Pass
from graphs.passes.scatter_pool_gradient import ScatterPoolGradient
from graphs.passes.schedule import Schedule
from graphs.passes.select_clip_gradient import SelectClipGradient
from graphs.passes.sparsify_activations import SparsifyActivations


def rewriting(layers: tuple[Layer, ...]) -> tuple[Pass, ...]:
    """Every saved activation smaller; the dialect of the differentiating engine stays."""
    return (
        IdentityEliminationPass(),
        FreeFrozenConvInput(),
        MaskRelu(),
        SelectClipGradient(),
        ScatterPoolGradient(),
        CenterBatchNorm(),  # before Sparsify, which prunes what it leaves
        SparsifyActivations(layers),
        PackMasks(),  # after every pass that makes flags
        MeasureGradients(layers),
        AccumulateEarly(),
        Schedule(),  # last: the order of the file is the order of execution
    )


def lowering(update: Pass, momentum: float) -> tuple[Pass, ...]:
    """The whole step in standard operators. update: the optimizer. momentum: of the running statistics."""
    return (
        DropAccumulation(),
        LowerBatchNorm(momentum),
        LowerBatchNormGradient(),
        LowerConvGradient(),
        LowerSoftmaxGradient(),
        LowerTrainingOperators(),
        update,
        RemoveUnusedNodesPass(),
        Schedule(),  # last: the order of the file is the order of execution
    )
