"""Words about keys that several causes need: tokens, templates, well-known buffers and heads."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

NUMBER = re.compile(r"(?<![A-Za-z0-9_])\d+(?![A-Za-z0-9_])")
"""A number that is a word of its own: that of `block.4`, not that of `block4`."""
_BUFFER = re.compile(
    r"(?:^|.*[._])(?:"
    # counters and versions
    r"num_batches_tracked|num_updates|n_averaged|num_batches|initted|version|_?extra_state|total_ops|total_params"
    # positions and masks
    r"|position_ids|token_type_ids|pos_idx|causal_mask|attn_mask|bias_mask|masked_bias|tril|triu|rel_pos_index"
    r"|relative_position_index|relative_coords\w*|attention_bias_idxs|_float_tensor|embed_positions\.weights"
    # rotary and other tables that are computed
    r"|inv_freq|freqs|freqs_cis|freqs_cos|freqs_sin|cos_cached|sin_cached"
    # signal processing and image statistics
    r"|mel_basis|forward_basis|inverse_basis|\w*sinusoid\w*|occs|binaries|aabb\w*|\w*bitfield|density_grid|mel_fb|hann_window|filterbank|pixel_mean|pixel_std|resample_filter|noise_const|noise_\d+"
    # grids of detectors, schedules of diffusion models
    r"|(?:cell_)?anchors(?:\.\d+)?|projection_matrix|anchor_grid|anchor_points|betas|alphas_cumprod\w*|sqrt_\w+|log_one_minus_alphas_cumprod"
    r"|(?:log_)?sigmas|posterior_\w+|lvlb_weights|logvar|scale_factor"
    # vector quantisation, entropy coding, losses
    r"|cluster_size|embed_avg|ema_(?:count|weight|w|embed|hidden|cluster_size|dw)|_quantized_cdf|_cdf_length|_offset|_medians"
    r"|class_weights?|pos_weight|loss_weights?|temp_key|dummy\w*|device_indicator"
    # short words count only where they stand alone
    r")$|(?:^|.*\.)(?:steps?|count|mask|cos|sin|pe|cache|fb|window|mean|std|stride|strides|grid|grids|priors|decay)$"
    r"|.*(?:^|\.)(?:attn|attention|self_attn)\.(?:bias|mask)$|(?:.*\.)?blur\w*\.kernel$"
)
_LOSS = re.compile(r"(?:^|.*\.)\w*(?:criterion|criteria|loss|lossfn|perceptual|lpips|metrics?|accuracy)\w*\..+$")
_HEAD_MODULES = re.compile(
    r"fcs?\d{0,4}|fc_\w+|\w*_fc|\w*classifier\d?|classif\w*|cls|cls_\w+|\w*_cls|\w*heads?|logits?|\w*_logits"
    r"|\w*predictor|predictions?|score|\w*_score|last_linear|last_layer|final\w*|output|output_layer|out|outc|outconv"
    r"|out_conv|conv_out|conv_last|last_conv|output_conv|qa_outputs|seq_relationship|pooler|class_embed"
    r"|class_labels_\w+|bbox_pred|bbox_embed|conv_cls|conv_reg|conv_seg|aux_classifier|ctc\w*|proj_out",
    re.I,
)
_FIRST_HEADS = re.compile(r"\w*heads?|\w*classifier|cls|score|qa_outputs|fc|linear|logits|predictor|predictions?", re.I)
# Parts of a block; their `fc` or `out` is no output layer of the model.
_INNER = frozenset(
    "se attn attention self_attn cross_attn attn1 attn2 mlp ffn ff feed_forward feedforward moe experts".split()
)
_TABLES = re.compile(
    r"(?:.*[._])?(?:\w*embed\w*|\w*emb\d?|wte|wpe|lm_head|shared|vocab\w*|symbols?\w*|tok_\w+|final_logits_bias"
    r"|codebook"
    r"|relative_position_bias\w*|rel_pos\w*|pos|\w*pos_?emb\w*|position\w*|decoder_pos\w*|char\w*|speaker\w*"
    r"|emb_\w+|decoder|output_projection)(?:\.(?:weight|bias|\d+|\d+\.weight|pe|weights))?",
    re.I,
)
_PEFT_TAIL = re.compile(r"\.(?:modules_to_save\.\w+|original_module|base_layer)(?=\.)")
# Last words of parameters; what ends otherwise is a buffer more often than not.
_WEIGHT = re.compile(
    r"\w*(?:weight|bias|scale|shift|gamma|beta|alpha|gain|embed\w*|emb|token\w*|tok|pos|queries|query|prompt\w*|param\w*"
    r"|latents?|proj\w*|kernel|matri(?:x|ces)|temperature|codebook|lora_?\w*|rel_pos\w*|bias_table|coef\w*|theta"
    r"|qkv|attn|fc\w*|conv\w*|linear\w*|norm\w*|memory|memories|vectors?|mu|sigma|sigmas|centers?|factors?|logits?)s?"
    r"|(?:weight|bias|in_proj|to|pos|cls|mask|lora|hada|A|B|W|U|V|Q|K)_?\w*|[a-zA-Z]|original\d?|log_\w+|logit_\w+|g_\w+"
    r"|\d+|state\w*|running_\w+|data",
    re.I,
)
WRAPPER_WORDS = frozenset(
    {"module", "_orig_mod", "_fsdp_wrapped_module", "_forward_module", "_checkpoint_wrapped_module", "_fpw_module"}
)
"""What data parallelism, compilation and sharding put into keys."""


def tokens(key: str) -> list[str]:
    """The words of a key: `layers.0.weight` has three."""
    return key.split(".")


def words_removed(source: str, target: str) -> tuple[str, ...] | None:
    """The words to take out of `source` to get `target`, None where that is not enough."""
    rest = tokens(target)[::-1]
    removed = []
    for word in tokens(source):
        if rest and rest[-1] == word:
            rest.pop()
        else:
            removed.append(word)
    return None if rest else tuple(removed)


def template(key: str) -> str:
    """The key with its numbers abstracted: `layers.0.weight` gives `layers.{}.weight`."""
    return NUMBER.sub("{}", key)


def templates(keys: Iterable[str]) -> tuple[str, ...]:
    """The different templates of the keys, in order."""
    return tuple(dict.fromkeys(template(k) for k in keys))


def share(keys: Sequence[str], test: Callable[[str], object]) -> float:
    """Share of the keys that pass the test; 0 for no keys."""
    return sum(bool(test(k)) for k in keys) / len(keys) if keys else 0.0


def is_counter(key: str) -> bool:
    """BatchNorm's num_batches_tracked: torch may list it on one side only."""
    return key.endswith("num_batches_tracked")


def is_buffer(key: str) -> bool:
    """A buffer that is recomputed, counted or kept for training only, judged by its name."""
    return bool(_BUFFER.match(key) or _LOSS.match(key))


def is_statistic(key: str) -> bool:
    """A running mean or variance; only a buffer, but one that the model needs."""
    return key.endswith(("running_mean", "running_var"))


def is_weight(key: str) -> bool:
    """Called as parameters are, judged by its last word; statistics of a normalisation and odd names count, too."""
    return not key or bool(_WEIGHT.fullmatch(key.rpartition(".")[2]))


def is_head(key: str) -> bool:
    """Part of an output layer, judged by the words of its name."""
    words = [w for w in tokens(key) if not w.isdigit()]
    if words[-1:] and words[-1] in ("weight", "bias"):
        words.pop()
    if not _INNER.isdisjoint(words):
        return False
    return bool(words) and bool(_FIRST_HEADS.fullmatch(words[0]) or any(_HEAD_MODULES.fullmatch(w) for w in words[-2:]))


def is_table(key: str) -> bool:
    """A table of a vocabulary or of positions, or what is tied to one, judged by its name."""
    return bool(_TABLES.fullmatch(_PEFT_TAIL.sub("", key)))


def count(number: int, noun: str) -> str:
    """`1 key`, `2 keys`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
