"""Keys cut into tokens, tokens into words, and the lexicon."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automatch.describing.lexicon import EMPTY, lexicon, parse_lexicon
from automatch.describing.tokens import split_blob, split_component, split_key, stem_index, words_of
from automatch.matching.basis.names import Names, contrast

KEYS = {
    "layers.0.self_attn.q_proj.weight": "layers 0 self_attn q_proj weight",
    "module.conv1.weight": "module conv1 weight",
    "bert/encoder/layer_0/attention/kernel": "bert encoder layer_0 attention kernel",
    "h.11.attn.c_attn.weight": "h 11 attn c_attn weight",
    "attn.in_proj_weight": "attn in_proj weight",
    "attn.in_proj_bias": "attn in_proj bias",
    "bn.running_mean": "bn running_mean",
    "bn.num_batches_tracked": "bn num_batches_tracked",
    "position_weight": "position_weight",
    "lora_unet_down_blocks_0_attentions_1_proj_in.lora_down.weight": "lora_unet_down_blocks 0 attentions 1 proj_in"
    " lora_down weight",
    "conv.parametrizations.weight.original0": "conv weight_g",
    "conv.parametrizations.weight.original1": "conv weight_v",
    "conv.parametrizations.weight.original": "conv weight_orig",
    "conv.parametrizations.weight.0._u": "conv weight_u",
    "conv.parametrizations.weight.0.base": "conv parametrizations weight 0 base",
    "conv.parametrizations": "conv parametrizations",
    "stem_bn/stem_bn/gamma:0": "stem_bn stem_bn gamma",
    "block2b_se_expand/kernel:0": "block2 1 se_expand kernel",
    "res4f_branch2a.weight": "res4 5 branch2_1 weight",
    "conv1_w": "conv1_w",
    "lora_b": "lora_b",
    "stem_conv1_bn_running_var": "stem_conv1_bn running_var",
    "running_mean": "running_mean",
    "model/layer-0/_dense/kernel/.ATTRIBUTES/VARIABLE_VALUE": "model layer-0 _dense kernel",
    "conv2d_block.weight": "conv2d_block weight",
    "separable_conv2d_1.weight": "separable_conv2d_1 weight",
    "unet3d_attn.weight": "unet3d_attn weight",
    "block2B_conv.weight": "block2B_conv weight",
    "table:3": "table:3",
    "weight": "weight",
    "0": "0",
}


@pytest.mark.parametrize(("key", "tokens"), KEYS.items())
def test_split_key(key: str, tokens: str) -> None:
    assert " ".join(split_key(key)) == tokens


BLOBS = {
    "res2_0_branch2c_bn_s": "res2 0 branch2_3 bn weight",
    "res2_0_branch2c_bn_riv": "res2 0 branch2_3 bn running_var",
    "res2_0_branch2c_w_momentum": "res2 0 branch2_3 weight momentum",
    "conv1_w": "conv1 weight",
    "block_s": "block_s",
}


@pytest.mark.parametrize(("key", "tokens"), BLOBS.items())
def test_split_blob(key: str, tokens: str) -> None:
    assert " ".join(split_blob(key)) == tokens


@given(st.text(max_size=20))
def test_any_text_is_a_key(text: str) -> None:
    """Keys come from files: nothing is lost but separators, and there is always a path."""
    path = split_key(text)
    assert path
    if "parametrizations" not in path:
        kept = "".join(path)
        assert [c for c in kept if c not in "._-/"] == [c for c in text if c not in "._-/"]
    for token in path:
        assert all(word and word == word.lower() for word in words_of(token))
        split_component(token)
        stem_index(token)


TOKENS = {
    "self_attn": "self attn",
    "LayerNorm_0": "layer norm 0",
    "MultiHeadDotProductAttention_1": "multi head dot product attention 1",
    "q_proj": "q proj",
    "fc1": "fc 1",
    "conv2d_12": "conv 2 d 12",
    "BERTModel": "bert model",
    "norm.1": "norm 1",
    "": "",
}


@pytest.mark.parametrize(("token", "words"), TOKENS.items())
def test_words_of(token: str, words: str) -> None:
    assert " ".join(words_of(token)) == words


def test_stem_index() -> None:
    assert stem_index("layer4") == ("layer", 4)
    assert stem_index("layer_01") == ("layer_", 1)
    assert stem_index("conv2d") is None
    assert stem_index("12") is None


TEXT = """
# a comment
norm = ln layernorm layer_norm     # words after a comment sign do not count: bogus
query = q wq
key = k wk
first = fc1
post = after

!group query key
!mild norm first
!token before-mlp = ffn_norm post_norm
"""


def test_the_lexicon_is_read_as_its_head_says() -> None:
    read = parse_lexicon(TEXT)
    assert read.words["ln"] == read.words["layernorm"] == {"norm"}
    assert read.phrases == {("layer", "norm"): {"norm"}}
    assert "bogus" not in read.words
    assert read.exclusive == {"query": {"key"}, "key": {"query"}}
    assert read.unlike == {"norm": {"first"}, "first": {"norm"}}
    assert read.tokens == {"ffnnorm": "before-mlp", "postnorm": "before-mlp"}
    assert parse_lexicon("") == EMPTY


def test_a_word_may_stand_for_several_concepts() -> None:
    assert parse_lexicon("gate = w1\nfirst = w1 fc1").words["w1"] == {"gate", "first"}


def test_the_lexicon_that_ships() -> None:
    """Every concept that excludes another is one that words stand for."""
    shipped = lexicon()
    concepts = {concept for found in shipped.words.values() for concept in found}
    for table in (shipped.exclusive, shipped.unlike):
        for concept, others in table.items():
            assert concept in concepts and others <= concepts and concept not in others
            assert all(concept in table[other] for other in others)


NAMES = Names(lexicon())


def alike(a: str, b: str) -> float:
    mine, theirs = NAMES.path_words(a.split(".")), NAMES.path_words(b.split("."))
    return NAMES.compare(mine, theirs, {})


@pytest.mark.parametrize(
    ("one", "near", "far"),
    [
        ("self_attn.q_proj", "attention.query", "attention.key"),
        ("attention.wo", "self_attn.o_proj", "self_attn.v_proj"),
        ("mlp.fc1", "intermediate.dense", "attention.output"),
        ("feed_forward.w2", "mlp.down_proj", "mlp.up_proj"),
        ("ln_f", "norm", "attn"),
        ("input_layernorm", "attention_norm", "ffn_norm"),
        ("post_attention_layernorm", "ffn_norm", "attention_norm"),
        ("encoder.block", "enc.layer", "decoder.block"),
        ("tok_embeddings", "embed_tokens", "position_embeddings"),
    ],
)
def test_synonyms_are_nearer_than_rivals(one: str, near: str, far: str) -> None:
    assert alike(one, near) > alike(one, far)
    assert alike(near, one) > alike(far, one)


WORDS = st.lists(st.sampled_from(["q", "key", "attn", "norm", "fc1", "mlp", "zzz", "layers", "0"]), max_size=4)


@given(WORDS, WORDS)
def test_comparing_is_symmetric_and_bounded(a: list[str], b: list[str]) -> None:
    mine, theirs = NAMES.path_words(a), NAMES.path_words(b)
    weights = contrast([mine], [theirs])
    there, back = NAMES.compare(mine, theirs, weights), NAMES.compare(theirs, mine, weights)
    assert abs(there - back) < 1e-9 and -1.0 <= there <= 1.0
    assert Names(lexicon(), silent=True).compare(mine, theirs, weights) == 0.0


def test_what_excludes_each_other_is_no_pair() -> None:
    for one, other in (("q_proj", "k_proj"), ("gate", "up"), ("encoder", "decoder"), ("fc1", "fc2")):
        assert NAMES.contradiction(NAMES.path_words([one]), NAMES.path_words([other])) > 0
        assert alike(one, other) < 0
    assert NAMES.contradiction(NAMES.path_words(["w1"]), NAMES.path_words(["fc1"])) == 0
