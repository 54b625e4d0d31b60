"""The rewrites of a graph, in order, from the exporter's to the device's."""

from onnx_ir.passes.common import CommonSubexpressionEliminationPass, IdentityEliminationPass, RemoveUnusedNodesPass

from graphs.layers import Layer
from graphs.passes.accumulate_early import AccumulateEarly
from graphs.passes.add_in_place import AddInPlace
from graphs.passes.add_strided import AddStrided
from graphs.passes.annotate_shapes import AnnotateShapes
from graphs.passes.bind_constants import BindConstants
from graphs.passes.center_batchnorm import CenterBatchNorm
from graphs.passes.center_in_sparsify import CenterInSparsify
from graphs.passes.center_layernorm import CenterLayerNorm
from graphs.passes.choose_order import ChooseOrder
from graphs.passes.drop_accumulation import DropAccumulation
from graphs.passes.drop_full_slices import DropFullSlices
from graphs.passes.feed_parameters import FeedParameters
from graphs.passes.flatten_linear import FlattenLinear
from graphs.passes.free_frozen_conv_input import FreeFrozenConvInput
from graphs.passes.fuse_batchnorm import FuseBatchNorm
from graphs.passes.fuse_batchnorm_gradient import FuseBatchNormGradient
from graphs.passes.fuse_gelu import FuseGelu
from graphs.passes.fuse_matmul import FuseMatMul
from graphs.passes.fuse_relu import FuseRelu
from graphs.passes.hold_masked import HoldMasked
from graphs.passes.keep_pool_offsets import KeepPoolOffsets
from graphs.passes.keep_relu_bits import KeepReluBits
from graphs.passes.keep_signs import KeepSigns
from graphs.passes.keep_together import KeepTogether
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
from graphs.passes.measure_batches import MeasureBatches
from graphs.passes.measure_gradients import MeasureGradients
from graphs.passes.merge_gradients import MergeGradients
from graphs.passes.merge_transposes import MergeTransposes
from graphs.passes.mix_statistics import MixStatistics
from graphs.passes.name_gradients import NameGradients
from graphs.passes.pack_masks import PackMasks
from graphs.passes.pack_values import PackValues
from graphs.passes.protect_operands import ProtectOperands
from graphs.passes.rewrite import Pass
from graphs.passes.save_layer_statistics import SaveLayerStatistics
from graphs.passes.scatter_pool_gradient import ScatterPoolGradient
from graphs.passes.schedule import Schedule
from graphs.passes.select_clip_gradient import SelectClipGradient
from graphs.passes.settle_reshapes import SettleReshapes
from graphs.passes.share_activations import ShareActivations
from graphs.passes.sparse_conv_gradient import SparseConvGradient
from graphs.passes.sparsify_activations import SparsifyActivations
from graphs.passes.sparsify_half import SparsifyHalf
from graphs.passes.split_linear_gradient import SplitLinearGradient
from graphs.passes.store_half import StoreHalf
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


def binding() -> tuple[Pass, ...]:
    """The differentiated graph with what its loss took for constants, and nothing computed twice for it."""
    return (
        BindConstants(),
        IdentityEliminationPass(),
        CommonSubexpressionEliminationPass(),
        MergeGradients(),
        KeepSigns(),
        RemoveUnusedNodesPass(),
    )


def predicting(
    tensors: tuple[str, ...], statistics: str, momentum: float, source_samples: float = 0, native: bool = False
) -> tuple[Pass, ...]:
    """The forward graph for a device, with the model's `tensors` as inputs.

    statistics: what BatchNorm normalises with, "running" or "batch"; these with source_samples parts of the source's,
    see MixStatistics. native: with the operators of graphs.kernels.
    """
    if statistics == "running":
        return (FeedParameters(tensors), Schedule())
    plain = FuseBatchNorm(momentum) if native else LowerBatchNorm(momentum)
    mixed = MixStatistics(source_samples, momentum, native)
    return (
        FeedParameters(tensors),
        UseBatchStatistics(momentum),
        MeasureBatches(),
        mixed if source_samples else plain,
        RemoveUnusedNodesPass(),
        *((ProtectOperands(),) if native else ()),
        Schedule(),
    )


def rewriting(
    layers: tuple[Layer, ...],
    trained: tuple[str, ...],
    half: bool = False,
    norms: Pass | None = None,
    mixing: MixStatistics | None = None,
) -> tuple[Pass, ...]:
    """Every saved activation smaller; the dialect of the differentiating engine stays.

    half: see StoreHalf. norms: what decides, in the place of prune ratios, what BatchNorm saves. mixing: of the
    statistics that it normalises with.
    """
    pruning = (SparsifyActivations(layers), *((StoreHalf(),) if half else ()))
    return (
        NameGradients(trained),
        IdentityEliminationPass(),
        SettleReshapes(),
        RemoveUnusedNodesPass(),
        FreeFrozenConvInput(),
        MaskRelu(),
        SelectClipGradient(),
        ScatterPoolGradient(),
        CenterLayerNorm(),
        *((CenterBatchNorm(), *pruning) if norms is None else (norms,)),  # Sparsify prunes what is centred
        *((mixing,) if mixing is not None else ()),
        PackMasks(),  # after every pass that makes flags
        MeasureGradients(layers),
        AccumulateEarly(),
        Schedule(),  # last: the order of the file is the order of execution
    )


def fusing(
    layers: tuple[Layer, ...],
    trained: tuple[str, ...],
    update: tuple[Pass, ...],
    momentum: float,
    half: bool = False,
    norms: Pass | None = None,
    mixing: MixStatistics | None = None,
) -> tuple[Pass, ...]:
    """The whole step in the operators of `graphs.kernels` and, for what is not theirs, standard ones.

    trained: the parameters that `update`, with the optimizer, moves. momentum: of the running statistics. half: kept
    values are stored in half precision. norms, mixing: see `rewriting`.
    """
    return (
        NameGradients(trained),
        IdentityEliminationPass(),
        SettleReshapes(),
        RemoveUnusedNodesPass(),
        FreeFrozenConvInput(),
        KeepReluBits(),
        KeepPoolOffsets(),
        SelectClipGradient(),
        ScatterPoolGradient(),  # of the pools that KeepPoolOffsets does not know
        CenterLayerNorm(),
        *((CenterBatchNorm(), SparsifyActivations(layers)) if norms is None else (norms,)),
        PackMasks(),
        mixing or FuseBatchNorm(momentum),
        CenterInSparsify(),
        FuseBatchNormGradient(),
        FuseRelu(),
        SparseConvGradient(),
        *gradients_in_standard_operators(),
        SplitLinearGradient(trained),
        AddInPlace(),
        AddStrided(),
        FuseMatMul(),
        HoldMasked(),
        ShareActivations(),
        # Rounded, what one of two layers reads would not follow from what the other keeps.
        *((SparsifyHalf(),) if half else (KeepTogether(), PackValues())),
        MeasureGradients(layers),  # after the passes that cut gradients into pieces
        DropAccumulation(),
        *update,
        RemoveUnusedNodesPass(),
        ProtectOperands(),
        Schedule(),
        ChooseOrder(len(layers)),
        Schedule(),  # last: the order of the file is the order of execution
    )


def lowering(update: tuple[Pass, ...], momentum: float) -> tuple[Pass, ...]:
    """The whole step in standard operators.

    update: what becomes of the gradients. momentum: of the running statistics.
    """
    return (
        DropAccumulation(),
        LowerBatchNorm(momentum),
        *gradients_in_standard_operators(),
        *update,
        RemoveUnusedNodesPass(),
        Schedule(),  # last: the order of the file is the order of execution
    )


def gradients_in_standard_operators() -> tuple[Pass, ...]:
    """What the differentiating engine adds to the standard operators, expressed by them."""
    return (
        LowerBatchNormGradient(),
        LowerConvGradient(),
        LowerLayerNormGradient(),
        LowerGelu(),
        LowerSoftmaxGradient(),
        LowerFusedMatMul(),
        LowerGatherGradient(),
        LowerSliceGradient(),
        LowerTrainingOperators(),
    )
