"""Rules and keys that every dialect is tried on: by hand, from the corpus, and at random."""

from __future__ import annotations

import re
from functools import lru_cache

from cases import CORPUS, read_case
from hypothesis import strategies as st

import automatch
from automatch.exporting.background import Background, background_of
from automatch.rules.replacement import quote
from automatch.rules.rule import Rule
from automatch.rules.rule_set import RuleSet
from automatch.spec import StateDictSpec, TensorSpec

Case = tuple[RuleSet, tuple[str, ...]]

LAYERS = r"layers\.(?P<i>\d+)\."
KEYS = ("layers.0.w", "layers.1.w", "layers.12.w", "layers.0.b", "other")

BY_HAND: dict[str, Case] = {
    "no rules": (RuleSet(), KEYS),
    "a prefix taken away": (RuleSet((Rule(r"layers\.(?P<rest>.+)", "{rest}"),)), KEYS),
    "a prefix for all": (RuleSet((Rule(r"(?P<rest>.+)", "model.{rest}"),)), KEYS),
    "a prefix for all but some": (RuleSet((Rule("other", "head"), Rule(r"(?P<rest>.+)", "model.{rest}"))), KEYS),
    "a part inside a name": (RuleSet((Rule("w", "weight"),)), ("w", "w.x.w", "raw", "w_w", "x.w", "w.w")),
    "the same text twice": (RuleSet((Rule(r"(?P<a>w\..+)\.w", "{a}.weight"),)), ("w.x.w", "w.w.w", "w.w")),
    "arithmetic": (RuleSet((Rule(LAYERS + r"(?P<a>w|b)", "blocks.{i//2}.{i%2}.{a}"),)), KEYS),
    "numbers moved on": (RuleSet((Rule(LAYERS + "w", "layers.{i+1}.w"),)), ("layers.0.w", "layers.1.w", "layers.2.w")),
    "numbers moved back": (RuleSet((Rule(LAYERS + "w", "layers.{i-1}.w"),)), ("layers.1.w", "layers.2.w")),
    "numbers turned round": (
        RuleSet((Rule(LAYERS + "w", "layers.{3-i}.w"),)),
        tuple(f"layers.{i}.w" for i in range(4)),
    ),
    "two names exchanged": (RuleSet((Rule("q", "k"), Rule("k", "q"))), ("q", "k", "qk")),
    "a chain of names": (RuleSet((Rule("a", "b"), Rule("b", "c"), Rule("c", "d"))), ("a", "b", "c")),
    "a later rule would take it": (
        RuleSet((Rule(r"layers\.(?P<a>.+)\.w", "{a}.layers.w"), Rule(r"(?P<a>\d+)\.(?P<b>.+)", "{b}"))),
        ("layers.0.w", "layers.1.w", "3.x"),
    ),
    "a rule that keeps a key": (RuleSet((Rule("keep", "keep"), Rule(r"(?P<rest>.+)", "x.{rest}"))), ("keep", "go")),
    "groups in another order": (RuleSet((Rule(LAYERS + "(?P<a>.+)", "{a}.{i}"),)), KEYS),
    "a group twice": (RuleSet((Rule(LAYERS + "(?P<a>.+)", "{i}.{i}.{a}"),)), KEYS),
    "three changes": (
        RuleSet((Rule(r"a\.(?P<i>\d+)\.b\.(?P<j>\d+)\.c\.(?P<k>\d+)\.d", "A.{i}.B.{j}.C.{k}.D"),)),
        tuple(f"a.{i}.b.{j}.c.{k}.d" for i in range(3) for j in range(3) for k in range(3)),
    ),
    "two changes far from the start": (
        RuleSet((Rule(r"(?P<a>.+)\.(?P<b>q|k|v)(?:uery|ey|alue)\.(?P<c>w|b)", "{a}.to_{b}.{c}"),)),
        ("x.0.q.w", *(f"x.{i}.{n}.{p}" for i in range(3) for n in ("query", "key", "value") for p in "wb")),
    ),
    "branches outside of groups": (RuleSet((Rule("a|b", "c"),)), ("a", "x", "ab")),
    "a group inside a group": (RuleSet((Rule(r"(?P<a>x\.(?P<b>\d+))\.w", "{b}.{a}"),)), ("x.1.w", "x.22.w", "y")),
    "a group behind a group without a name": (RuleSet((Rule(r"(x|y)\.(?P<a>.+)\.w", "z.{a}.v"),)), ("x.1.w", "y.2.w")),
    "a star before any character": (RuleSet((Rule(r"(?P<a>x.*)(?P<b>.w)", "{a}-{b}"),)), ("x.aw", "xxw", "xw")),
    "odd characters": (
        RuleSet((Rule(r'(?P<a>\w+)\[0\]"\+(?P<b>.)', "{a}/'\"{{0}}/{b}"),)),
        ('k[0]"+x', "k0+x", "k", "@", "~"),
    ),
    "digits behind a group": (RuleSet((Rule(r"x(?P<a>\d)y", "{a}1"),)), ("x0y", "x5y")),
    "a rule that takes nothing": (RuleSet((Rule(r"n(?P<i>\d+)", "n{i+1}"), Rule("a", "b"))), ("a", "z")),
}

CORPUS_CASES = """
accidents/lstm-renamed_to_lstm accidents/resnet50-sequential_to_resnet50 accidents/unet-milesial_to_unet-nested
crosslib/fb-convnext-tiny_to_hf-convnext crosslib/ldm-tiny-unet_to_diffusers-unet
timm/pvt_v2_b0-orig_to_timm-pvt_v2_b0
crosslib/meta-llama-2layer_to_hf-llama crosslib/timm-vit_large_patch14_clip_224_to_mmpretrain-vit
crosslib/wan21-t2v-2layer_to_diffusers-wan gguf/gguf-llama-2layer_to_hf-llama lora/hf-llama-2layer_to_peftmodel-lora
timm/ms-swin-4stage-tiny-orig_to_timm-swin transformers/hf4-vit-2layer_to_hf5-vitforimageclassification
transformers/llava-2layer_to_hf5-llava vision/tv-densenet121-old-ckpt_to_tv-densenet121
vision/tv-resnet18_to_hf-resnet18
""".split()
CORPUS_CASES_WITH_OPERATIONS = """
crosslib/bfl-flux-2+2layers_to_diffusers-flux crosslib/google-bert-2layer-tf_to_hf-bertforpretraining
crosslib/google-vit-2layer-npz_to_timm-vit crosslib/hf-llama3-2layer_to_litgpt crosslib/openai-clip-2layer_to_hf-clip
crosslib/sai-sd3-3layer_to_diffusers-sd3 gguf/gguf-mixtral-2layer_to_hf5-mixtral
timm/fb-convnextv2_atto-orig_to_timm-convnextv2_atto transformers/mixtral-2layer_to_hf5-mixtral
transformers/deepseek_v2-3layer_to_hf5-deepseek_v2 vision/timm-vit_tiny_patch16_224_to_hf-vit_tiny
vision/tv-vgg16_to_timm-vgg16
""".split()


@lru_cache
def of_corpus(name: str) -> tuple[RuleSet, Background]:
    """The rules of a pair of the corpus, and what is known beside them."""
    case = read_case(CORPUS / f"{name}.json.gz")
    source, target = (
        StateDictSpec(side, tuple(TensorSpec(*entry) for entry in entries))
        for side, entries in (("old", case.source), ("new", case.target))
    )
    diagnosis = automatch.diagnose(source, target)
    return diagnosis.rules, background_of(diagnosis)


_TOKENS = ("a", "b", "0", "1", "12", "a0", "w")
_GROUPS = {
    r"\d+": ("0", "1", "12"),
    ".+": ("a", "a.b", "0.w", "a0"),
    "[^.]+": _TOKENS,
    "a|b": ("a", "b"),
    "0|1": ("0", "1"),
    ".*": ("", "a", "1.a"),
}


@st.composite
def _rule(draw: st.DrawFn) -> tuple[Rule, list[str]]:
    """A rule, and keys that it takes where no other one does."""
    pattern, names, numbers, texts = [], [], [], []
    for place in range(draw(st.integers(1, 4))):
        group = draw(st.sampled_from(("", *_GROUPS)))
        if group:
            names.append(f"g{place}")
            numbers += [names[-1]] if group in (r"\d+", "0|1") else []
            pattern.append(f"(?P<g{place}>{group})")
            texts.append(_GROUPS[group])
        else:
            texts.append((draw(st.sampled_from(_TOKENS)),))
            pattern.append(re.escape(texts[-1][0]))
    pieces = [st.sampled_from(_TOKENS).map(quote)]
    pieces += [st.sampled_from(names).map("{{{}}}".format)] * 2 if names else []
    pieces += [st.sampled_from(numbers).map("{{{}+1}}".format)] if numbers else []
    kept = [f"{{{name}}}" for name in names]
    lists = [st.lists(st.one_of(pieces), min_size=1, max_size=4), st.just(["new", *kept]), st.just(kept)]
    new = draw(st.one_of(*lists, st.permutations([*kept, "x"])))
    keys = draw(st.lists(st.tuples(*map(st.sampled_from, texts)), max_size=4))
    return Rule(r"\.".join(pattern), ".".join(new) or "x"), [".".join(key) for key in keys]


@st.composite
def _case(draw: st.DrawFn) -> Case:
    drawn = draw(st.lists(_rule(), max_size=4))
    keys = draw(st.lists(st.lists(st.sampled_from(_TOKENS), min_size=1, max_size=4).map(".".join), max_size=3))
    all_keys = dict.fromkeys(key for _, own in drawn for key in own) | dict.fromkeys(keys)
    return RuleSet(tuple(rule for rule, _ in drawn)), tuple(all_keys)


AT_RANDOM = _case()
