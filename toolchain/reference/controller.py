"""SURGEON's prune ratios: layers that matter much to the gradient and cost little memory are pruned least."""

from torch import Tensor


def surgeon_ratios(grad_rms: Tensor, elements_per_sample: Tensor) -> Tensor:
    """Prune ratios float64 [L] from the RMS of each layer's weight gradient and the size of its input, both [L].

    M_i = −ln(m_i / Σ m), p_i = 1 − G_i M_i / max(G M); a layer without gradient is pruned whole. Where no layer has any
    importance, as in a model of one layer, every layer with a gradient is kept whole.
    (Ma et al., CVPR 2025, "SURGEON", section 3.3; both normalisations by the maximum cancel.)
    """
    gradient, elements = grad_rms.double(), elements_per_sample.double()
    memory = -(elements / elements.sum()).log()
    importance = gradient * memory
    if importance.max() == 0:
        return (gradient == 0).double()
    return 1 - importance / importance.max()
