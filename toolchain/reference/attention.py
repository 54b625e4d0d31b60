"""torch.nn.functional.multi_head_attention_forward written out, so that its two projections can be pruned."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional

from toolchain.errors import ModelError


def self_attention(
    linear: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Tokens [T, N, E] to [T, N, E] without dropout, with `linear` for both projections; the arguments are torch's.

    Raises ModelError for what is not plain self-attention. (Vaswani et al. 2017, "Attention Is All You Need", 3.2.)
    """
    additions = (bias_k, bias_v, options.get("key_padding_mask"), options.get("attn_mask"))
    plain = all(addition is None for addition in additions) and not (add_zero_attn or options.get("need_weights", True))
    if not (plain and query is key and key is value):
        raise ModelError("only self-attention without masks and without returned weights can be adapted: freeze it")
    tokens, samples, width = query.shape

    def heads(x: Tensor) -> Tensor:
        return x.reshape(tokens, samples * num_heads, width // num_heads).transpose(0, 1)

    q, k, v = linear(query, in_proj_weight, in_proj_bias).chunk(3, dim=-1)
    attended = functional.scaled_dot_product_attention(heads(q), heads(k), heads(v))
    return linear(attended.transpose(0, 1).reshape(query.shape), out_proj_weight, out_proj_bias), None
