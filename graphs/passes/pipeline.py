"""The rewrites of a graph, in order, from the exporter's to the device's."""

from onnx_ir.passes.common import IdentityEliminationPass, RemoveUnusedNodesPass

from graphs.layers import Layer
from graphs.passes.accumulate_early import AccumulateEarly
from graphs.passes.annotate_shapes import AnnotateShapes
from graphs.passes.center_batchnorm import CenterBatchNorm
from graphs.passes.center_layernorm import CenterLayerNorm
from graphs.passes.drop_accumulation import DropAccumulation
from graphs.passes.drop_full_slices import DropFullSlices
from graphs.passes.flatten_linear import FlattenLinear
from graphs.passes.free_frozen_conv_input import FreeFrozenConvInput
from graphs.passes.fuse_gelu import FuseGelu
from graphs.passes.lower_batchnorm import LowerBatchNorm
from graphs.passes.lower_batchnorm_gradient import LowerBatchNormGradient
from graphs.passes.lower_conv_gradient import LowerConvGradient
from graphs.passes.lower_fused_matmul import LowerFusedMatMul
from graphs.passes.lower_gather_gradient import LowerGatherGradient
from graphs.passes.lower_gelu import LowerGelu
from graphs.passes.lower_layernorm_gradient import LowerLayerNormGradient
from graphs.passes.lower_slice_gradient import LowerSliceGradient
from graphs.passes.lower_softmax_gradient import LowerSoftmaxGradient
from graphs.passes.lower_training_operators import LowerTrainingOperators
from graphs.passes.mask_relu import MaskRelu
from graphs.passes.measure_gradients import MeasureGradients
from graphs.passes.merge_transposes import MergeTransposes
from graphs.passes.pack_masks import PackMasks
from graphs.passes.rewrite import Pass
from graphs.passes.save_layer_statistics import SaveLayerStatistics
from graphs.passes.scatter_pool_gradient import ScatterPoolGradient
from graphs.passes.schedule import Schedule
from graphs.passes.select_clip_gradient import SelectClipGradient
from graphs.passes.settle_reshapes import SettleReshapes
from graphs.passes.sparsify_activations import SparsifyActivations
from graphs.passes.use_batch_statistics import UseBatchStatistics


def tidying() -> tuple[Pass, ...]:
    """The exported forward graph with its linear layers as such and its shapes known, for training and inference."""
    return (
        DropFullSlices(),
        MergeTransposes(),  # before the shapes by which the exporter transposes are settled away
        FlattenLinear(),
        SettleReshapes(),
        RemoveUnusedNodesPass(),
        AnnotateShapes(),
    )


def preparing(momentum: float) -> tuple[Pass, ...]:
    """The forward graph as the differentiating engine takes it. momentum: of the running statistics."""
    return (UseBatchStatistics(momentum), FuseGelu(), RemoveUnusedNodesPass(), SaveLayerStatistics())


def rewriting(layers: tuple[Layer, ...]) -> tuple[Pass, ...]:
    """Every saved activation smaller; the dialect of the differentiating engine stays."""
    return (
        IdentityEliminationPass(),
        SettleReshapes(),
        RemoveUnusedNodesPass(),
        FreeFrozenConvInput(),
        MaskRelu(),
        SelectClipGradient(),
        ScatterPoolGradient(),
        CenterLayerNorm(),
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
        LowerLayerNormGradient(),
        LowerGelu(),
        LowerSoftmaxGradient(),
        LowerFusedMatMul(),
        LowerGatherGradient(),
        LowerSliceGradient(),
        LowerTrainingOperators(),
        update,
        RemoveUnusedNodesPass(),
        Schedule(),  # last: the order of the file is the order of execution
    )
