"""Transformers for texts, and their layers alone.

GPT-NeoX keeps query, key and value of one head together in its fused weight, which neither keys nor shapes show.
"""

from __future__ import annotations

from typing import Any

from libraries import import_torchvision

from networks.makers import transformers
from networks.network import Network, Pair

SIZES: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
DECODER = {**SIZES, "tie_word_embeddings": False, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
GROUPED = {**DECODER, "num_key_value_heads": 2}


def _torch_encoder(norm_first: bool) -> Any:
    from torch import nn

    layer = nn.TransformerEncoderLayer(32, 4, 64, activation="gelu", batch_first=True, norm_first=norm_first)
    return nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)


def _torchvision_blocks() -> Any:
    from torch import nn

    block = import_torchvision().models.vision_transformer.EncoderBlock
    return nn.Sequential(*(block(4, 32, 64, 0.0, 0.0, norm_layer=nn.LayerNorm) for _ in range(3)))


PAIRS = (
    Pair(
        Network("torch", "TransformerEncoder, norms first", lambda: _torch_encoder(True)),
        Network("torchvision", "EncoderBlock", _torchvision_blocks),
        width=32,
    ),
    Pair(
        Network("torch", "TransformerEncoder", lambda: _torch_encoder(False)),
        transformers("BertModel", "BertConfig", "encoder", **SIZES),
        width=32,
    ),
    Pair(
        transformers("Phi3ForCausalLM", "Phi3Config", **GROUPED),
        transformers("LlamaForCausalLM", "LlamaConfig", **GROUPED),
    ),
    Pair(
        transformers("GPTNeoXForCausalLM", "GPTNeoXConfig", use_parallel_residual=False, rotary_pct=1.0, **DECODER),
        transformers("Starcoder2ForCausalLM", "Starcoder2Config", hidden_act="gelu", num_key_value_heads=4, **DECODER),
    ),
)
