"""Transformers for texts, and their layers alone.

Three of them store the rows of a fused query, key and value in an order of their own; neither keys nor shapes show it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from libraries import import_torchvision

from networks.makers import transformers
from networks.network import Network, Pair

HEADS = 4
SIZES: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": HEADS,
    "intermediate_size": 64,
}
DECODER = {**SIZES, "tie_word_embeddings": False, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
GROUPED = {**DECODER, "num_key_value_heads": 2}
GPT: dict[str, Any] = {
    "vocab_size": 99, "n_embd": 32, "n_layer": 3, "n_head": HEADS, "n_positions": 64, "tie_word_embeddings": False,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


def _rows_by_head(rows: int) -> Any:
    """Query, key and value of the first head, then of the next."""
    import torch

    return torch.arange(rows).view(HEADS, 3, -1).transpose(0, 1).reshape(-1)


def _rows_by_device(rows: int) -> Any:
    """Query, value and key for the first of four devices, then for the next."""
    import torch

    return torch.arange(rows).view(4, 3, -1)[:, [0, 2, 1]].transpose(0, 1).reshape(-1)


def _torch_decoder() -> Any:
    """GPT-2 in torch's own layers."""
    import torch
    from torch import nn

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.positions = nn.Embedding(99, 32), nn.Embedding(64, 32)
            gelu = partial(nn.functional.gelu, approximate="tanh")
            layer = nn.TransformerEncoderLayer(32, HEADS, 128, activation=gelu, batch_first=True, norm_first=True)
            self.layers = nn.TransformerEncoder(layer, 3, nn.LayerNorm(32), enable_nested_tensor=False)
            self.head = nn.Linear(32, 99, bias=False)

        def forward(self, text: torch.Tensor) -> torch.Tensor:
            length = text.shape[1]
            vectors = self.tokens(text) + self.positions(torch.arange(length))
            mask = nn.Transformer.generate_square_subsequent_mask(length, dtype=vectors.dtype)
            logits: torch.Tensor = self.head(self.layers(vectors, mask=mask, is_causal=True))
            return logits

    return Decoder()


def _torch_encoder(norm_first: bool) -> Any:
    from torch import nn

    layer = nn.TransformerEncoderLayer(32, HEADS, 64, activation="gelu", batch_first=True, norm_first=norm_first)
    return nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)


def _torchvision_blocks() -> Any:
    from torch import nn

    block = import_torchvision().models.vision_transformer.EncoderBlock
    return nn.Sequential(*(block(HEADS, 32, 64, 0.0, 0.0, norm_layer=nn.LayerNorm) for _ in range(3)))


GPT2 = transformers("GPT2LMHeadModel", "GPT2Config", **GPT)
GPT_BIGCODE = transformers(
    "GPTBigCodeForCausalLM", "GPTBigCodeConfig", fused="c_attn", rows=_rows_by_head, multi_query=False, **GPT
)
GPTJ = transformers("GPTJForCausalLM", "GPTJConfig", rotary_dim=8, **GPT)
CODEGEN = transformers(
    "CodeGenForCausalLM", "CodeGenConfig", fused="qkv_proj", rows=_rows_by_device, rotary_dim=8, **GPT
)
GPT_NEOX = transformers(
    "GPTNeoXForCausalLM", "GPTNeoXConfig", fused="query_key_value", rows=_rows_by_head, use_parallel_residual=False,
    rotary_pct=1.0, **DECODER,
)  # fmt: skip
FALCON = transformers(
    "FalconForCausalLM", "FalconConfig", fused="query_key_value", rows=_rows_by_head, multi_query=False, bias=True,
    parallel_attn=False, ffn_hidden_size=64, **DECODER,
)  # fmt: skip
STARCODER2 = transformers(
    "Starcoder2ForCausalLM", "Starcoder2Config", hidden_act="gelu", num_key_value_heads=HEADS, **DECODER
)

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
    Pair(Network("torch", "TransformerEncoder, causal", _torch_decoder), GPT2),
    Pair(GPT_NEOX, FALCON),
    Pair(GPT2, GPT_BIGCODE),
    Pair(GPT_NEOX, STARCODER2),
    Pair(GPTJ, CODEGEN),
)
