"""What `explain` says: the cause, the way out, and rules that were replayed."""

from __future__ import annotations

import json

import pytest

from automatch.diagnosing.evidence import CAUSE_WORDS, HINTS
from automatch.errors import InputError
from automatch.explaining import explain, parse_error
from tests.explaining import reports_of_names, reports_of_shapes
from tests.explaining.texts import TEXTS
from tests.explaining.wording import RESNET, at, each, torch_text

REPORTS = reports_of_names.REPORTS + reports_of_shapes.REPORTS

FIELDS = {
    "schema",
    "class_name",
    "missing_keys",
    "unexpected_keys",
    "mismatched_keys",
    "truncated",
    "cause",
    "advice",
    "rules",
}


@pytest.mark.parametrize(("name", "text", "cause"), REPORTS, ids=[name for name, _, _ in REPORTS])
def test_the_cause_is_named(name: str, text: str, cause: str) -> None:
    assert explain(text).cause == cause


def test_every_cause_word_is_met() -> None:
    assert {cause for _, _, cause in REPORTS} == set(CAUSE_WORDS)


@pytest.mark.parametrize("text", [*(text for _, text, _ in REPORTS), *(said.text for said in TEXTS)])
def test_what_holds_for_every_explanation(text: str) -> None:
    explanation = explain(text)
    data = explanation.to_dict()
    assert set(data) == FIELDS
    assert data["schema"] == 1
    assert json.loads(json.dumps(data)) == data
    assert data["cause"] in CAUSE_WORDS
    finding = explanation.finding
    assert finding.advice
    assert "strict=False" not in finding.advice
    assert 0 <= finding.score <= 1
    renamed = {k: explanation.rules.rename(k) for k in data["unexpected_keys"] if explanation.rules.move(k)}
    assert len(set(renamed.values())) == len(renamed), "two keys collide"
    if renamed and not data["truncated"]:
        stray = [k for k, new in renamed.items() if new not in data["missing_keys"] and "num_batches" not in k]
        assert not stray
    assert sum(rule["hits"] for rule in data["rules"]) == len(renamed)
    assert str(explanation).startswith(data["cause"])
    assert "automatch diagnose CHECKPOINT MODEL" in str(explanation)


def test_who_is_who() -> None:
    shown = str(explain(torch_text(["a.weight"], ["b.weight", "b.bias"], [("c.weight", (2, 3), (2, 4))])))
    assert "1 missing     the model has them, the checkpoint does not" in shown
    assert "2 unexpected  the checkpoint has them, the model does not" in shown
    assert "c.weight [2, 3] => [2, 4]" in shown


def test_a_rule_with_its_hits() -> None:
    explanation = explain(torch_text(RESNET, at("module.", [*RESNET, "bn1.num_batches_tracked"])))
    assert explanation.to_dict()["rules"] == [
        {"pattern": r"module\.(?P<rest>.+)", "replacement": "{rest}", "op": "rename", "hits": len(RESNET) + 1}
    ]
    shown = str(explanation)
    assert f"takes {len(RESNET) + 1} of {len(RESNET) + 1} unexpected keys, {len(RESNET)} land on missing keys" in shown
    assert "shapes" in shown


@pytest.mark.parametrize(
    ("missing", "unexpected"),
    [
        (
            ["generator.conv1.weight", "generator.conv1.bias"],
            ["generator.module.conv1.weight", "generator.module.conv1.bias"],
        ),
        (at("backbone.", RESNET), RESNET),
        (RESNET, at("model.net.", RESNET)),
        (each("0 1", "h.{}.attn.weight"), each("0 1", "h.{}._orig_mod.attn.weight")),
        (
            each("0 1 2", "blocks.{}.attn.weight", "blocks.{}.mlp.weight"),
            each("0 1 2", "layers.{}.attn.weight", "layers.{}.mlp.weight"),
        ),
        (each("q k v", "attn.0.to_{}.weight"), ["attn.0.query.weight", "attn.0.key.weight", "attn.0.value.weight"]),
        (
            each("a b", "{}.weight_g", "{}.weight_v"),
            each("a b", "{}.parametrizations.weight.original0", "{}.parametrizations.weight.original1"),
        ),
    ],
)
def test_the_rules_are_complete(missing: list[str], unexpected: list[str]) -> None:
    rules = explain(torch_text(missing, unexpected)).rules
    assert sorted(map(rules.rename, unexpected)) == sorted(missing)


def test_original0_is_the_norm() -> None:
    unexpected = ["conv.parametrizations.weight.original0", "conv.parametrizations.weight.original1"]
    rules = explain(torch_text(["conv.weight_g", "conv.weight_v"], unexpected)).rules
    assert [rules.rename(k) for k in unexpected] == ["conv.weight_g", "conv.weight_v"]


def test_what_names_do_not_decide_gets_no_rule() -> None:
    text = torch_text(each("0 1", "b.{}.one.weight", "b.{}.two.weight"), each("0 1", "b.{}.x.weight", "b.{}.y.weight"))
    explanation = explain(text)
    assert explanation.cause == "renamed-modules"
    assert not explanation.rules
    assert "no rule" in str(explanation)


def test_a_rename_that_leaves_keys_over_on_both_sides_is_none() -> None:
    missing = each("2 3", "layer{}.0.drop.0.weight", "layer{}.0.drop.0.bias", "layer{}.0.shortcut.weight")
    unexpected = each("2 3", "layer{}.0.down.0.weight", "layer{}.0.down.0.bias")
    assert explain(torch_text(missing, unexpected)).cause == "wrong-architecture/variant"


def test_overlapping_numbers_are_not_renumbered() -> None:
    """Layers 1 to 11 stand in neither list, so `12 => 0` would be a wrong rule."""
    explanation = explain(torch_text(each("0", "layers.{}.weight"), each("12", "layers.{}.weight")))
    assert explanation.cause == "index-shift"
    assert not explanation.rules


def test_a_rule_says_what_it_leaves() -> None:
    shown = str(explain(torch_text(RESNET, [*at("model.", RESNET), "train_loss.weight"])))
    assert "left over: train_loss.weight" in shown


def test_a_cut_text_says_so() -> None:
    explanation = explain(torch_text(RESNET, at("module.", RESNET), cut=True))
    assert explanation.to_dict()["truncated"]
    assert "cut" in " ".join(explanation.unknown)


def test_a_list_of_lines_is_read() -> None:
    assert explain(
        ['Missing key(s) in state_dict: "a.b". ', 'Unexpected key(s) in state_dict: "c.d". ']
    ).report.missing_keys == ("a.b",)


def test_another_error_is_refused() -> None:
    with pytest.raises(InputError, match="says nothing about a state_dict"):
        explain("ZeroDivisionError: division by zero")


def test_a_text_without_a_list_asks_for_one() -> None:
    explanation = explain("I get missing and unexpected keys, what now?")
    assert explanation.cause == "other"
    assert "paste torch's own text" in explanation.advice


def test_every_hint_is_explained() -> None:
    met = {hint for said in TEXTS for hint in parse_error(said.text).hints}
    met |= {hint for _, text, _ in REPORTS for hint in parse_error(text).hints}
    assert met <= set(HINTS)


OLD = [
    *each("embed", "{}.weight", "{}.bias"),
    *each(
        "0 1 2", *(f"blocks.{{}}.{n}.{w}" for n in ("norm1", "attn", "norm2", "fc1", "fc2") for w in ("weight", "bias"))
    ),
    *each("norm head", "{}.weight", "{}.bias"),
]
NEW = [
    *each("stem", "{}.weight", "{}.bias"),
    *each(
        "0 1 2",
        *(f"layers.{{}}.{n}.{w}" for n in ("ln_1", "proj", "ln_2", "mlp.0", "mlp.2") for w in ("weight", "bias")),
    ),
    *each("final_ln classifier", "{}.weight", "{}.bias"),
]


def test_everything_renamed_is_no_other_architecture() -> None:
    explanation = explain(torch_text(NEW, OLD))
    assert explanation.cause == "renamed-modules"
    assert "36 missing and 36 unexpected keys have the same outline (weight 18, bias 18; 3 blocks)" in str(explanation)
    assert "automatch diagnose" in explanation.advice
    assert "shapes" in explanation.finding.sentence


@pytest.mark.parametrize(
    ("missing", "unexpected"),
    [
        (NEW, OLD[:20]),  # counts
        (NEW, [*OLD[:12], *(f"bn{i}.running_{w}" for i in range(12) for w in ("mean", "var"))]),  # last words
        (NEW, [k for k in OLD if ".2." not in k] + [f"tail{i}.weight" for i in range(10)]),  # depth
    ],
)
def test_what_differs_in_outline_is_another_architecture(missing: list[str], unexpected: list[str]) -> None:
    explanation = explain(torch_text(missing, unexpected))
    assert explanation.cause == "wrong-architecture/variant"
    assert "last words differ" in explanation.finding.sentence
    assert "renaming cannot help" not in str(explanation), "no shape is known"


def test_renaming_is_excluded_only_by_shapes() -> None:
    sizes = [(f"h.{i}.weight", (8, 8), (4, 4)) for i in range(4)]
    assert "renaming cannot help" in explain(torch_text(sizes=sizes)).advice
    for text in (torch_text(sizes=sizes, cut=True), torch_text(["a.b.c"]), torch_text(["a.b", "c.d"], ["e.f", "g.h"])):
        assert "renaming cannot help" not in str(explain(text))


def test_a_cut_text_with_one_key_tells_no_architecture() -> None:
    explanation = explain('Missing key(s) in state_dict: "layer3.5.bn2.weight", ...')
    assert explanation.cause == "other"
    assert "too little" in explanation.finding.sentence
    assert "another architecture or variant" not in str(explanation)


def test_a_cut_text_that_begins_with_the_model_asks_for_the_prefix() -> None:
    explanation = explain('Missing key(s) in state_dict: "conv1.weight", "bn1.weight", ...')
    assert explanation.cause == "prefix-module"
    assert "(likely, not proven)" in str(explanation)
    assert "automatch keys FILE" in explanation.advice
    assert not explanation.rules


@pytest.mark.parametrize(
    ("words", "cause", "nesting"),
    [
        ("module._orig_mod", "prefix-compile", "a compiled model inside DataParallel"),
        ("_orig_mod.module", "prefix-compile", "a compiled model around DataParallel"),
        ("_fsdp_wrapped_module._orig_mod", "prefix-compile", "a compiled model inside FSDP"),
        ("module.module", "prefix-module", "DataParallel wrapped twice"),
    ],
)
def test_two_wrappers_are_both_named_in_their_order(words: str, cause: str, nesting: str) -> None:
    explanation = explain(torch_text(RESNET, at(f"{words}.", RESNET)))
    assert explanation.cause == cause
    assert f"{nesting}: all {len(RESNET)} unexpected keys carry `{words}.`" in explanation.finding.sentence
    assert f"`model.{words}.state_dict()`" in explanation.advice
    pattern = words.replace(".", r"\.")
    assert [(r.pattern, r.replacement) for r in explanation.rules] == [(rf"{pattern}\.(?P<rest>.+)", "{rest}")]
    assert f"`model.{words}`" in explain(torch_text(at(f"{words}.", RESNET), RESNET)).advice


def test_a_wrapper_of_a_part_does_not_name_the_whole_model() -> None:
    advice = explain(torch_text(at("unet.", RESNET), at("unet._orig_mod.", RESNET))).advice
    assert "model._orig_mod" not in advice


def test_sharding_inside_data_parallel() -> None:
    explanation = explain(torch_text(RESNET, at("module._fsdp_wrapped_module.", RESNET)))
    assert explanation.cause == "prefix-wrapper"
    assert "`module._fsdp_wrapped_module.`" in explanation.finding.sentence
    assert len(explanation.rules) == 1


def test_a_head_that_differs_proves_nothing_of_what_is_not_listed() -> None:
    shown = str(explain(torch_text(sizes=[("fc.weight", (1000, 512), (10, 512)), ("fc.bias", (1000,), (10,))])))
    assert "nothing else is listed" in shown
    assert "the rest fits" not in shown


def test_stripping_shows_in_the_middle_of_words() -> None:
    cut = explain(torch_text(["conv_first.weight", "conv_first.bias"], ["rst.weight", "rst.bias"]))
    assert "strips" in cut.finding.sentence
    edge = explain(torch_text(each("q k v", "to_{}.weight"), each("q k v", "{}.weight")))
    assert edge.cause == "renamed-modules"
    assert "strips" not in str(edge)


def test_advice_speaks_of_no_rule_where_there_is_none() -> None:
    """Both carry `module.`, but other names besides: taking it out cures nothing by itself."""
    lists = "Missing key(s) in state_dict: {}.", "Unexpected key(s) in state_dict: {}."
    text = "\n\t".join(("Error(s) in loading state_dict for B:", *lists))
    keys = ", ".join(f'"module.{name}"' for name in ("stem.conv.weight", "stem.conv.bias", "head.weight", "head.bias"))
    other = explain(text.format('"encoder.a.w", "encoder.b.w", "encoder.c.w", "decoder.d.w"', keys))
    assert not other.rules and "rule" not in other.advice
