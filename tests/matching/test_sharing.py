"""Tensors that stand twice: tied weights, optimizer slots, second copies of the whole network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from automatch.matching import match
from tests.matching.networks import Encoder, Flat, HfEncoder, Stages, to_hf, to_stages
from tests.matching.truth import Served, by_rename, complete, flagged, found, honest, renamed, solved, spec, truth

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


class LanguageModel(nn.Module):
    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.model = Encoder(2)
        self.lm_head = nn.Linear(16, 60, bias=False)
        if tied:
            self.lm_head.weight = self.model.embed_tokens.weight


def without(key: str) -> dict[str, object]:
    return renamed(LanguageModel(False), lambda other: None if other == key else other)


def test_a_live_model_shows_that_its_head_is_tied() -> None:
    """The file holds the embedding alone; the head gets the same tensor, and that is certain."""
    checkpoint = without(HEAD)
    expected = {**truth((key, key) for key in checkpoint), (HEAD,): Served((EMBEDDING,))}
    assignment = solved(checkpoint, LanguageModel(True), expected)
    assert {m.model_keys[0]: m.confidence for m in assignment.matches}[HEAD] == 1.0


def test_a_live_model_under_other_names() -> None:
    checkpoint = renamed(without(HEAD), lambda key: to_hf(key.removeprefix("model.")))
    expected = truth((to_hf(key.removeprefix("model.")), key) for key in without(HEAD))
    expected[HEAD,] = expected[EMBEDDING,]
    solved(checkpoint, LanguageModel(True), expected)


def test_a_tied_model_loads_from_the_head_alone() -> None:
    checkpoint = without(EMBEDDING)
    expected = {**truth((key, key) for key in checkpoint), (EMBEDDING,): Served((HEAD,))}
    solved(checkpoint, LanguageModel(True), expected)


def test_files_cannot_show_whether_a_head_is_tied_or_missing() -> None:
    """Two files of the same keys: one model ties its head, the other trains it. So the head is flagged, and only it."""
    checkpoint = without(HEAD)
    expected = {**truth((key, key) for key in checkpoint), (HEAD,): Served((EMBEDDING,))}
    assignment = honest(checkpoint, LanguageModel(False), expected)
    assert found(assignment) == expected
    assert flagged(assignment) == {HEAD}
    assert assignment.missing_keys == assignment.unexpected_keys == ()


def test_a_head_that_is_there_is_used() -> None:
    for tied in (False, True):
        model = LanguageModel(tied)
        solved(LanguageModel(False), model, truth((key, key) for key in spec(model).keys))


def test_a_matrix_that_is_no_head_is_not_tied() -> None:
    """It has the embedding's shape; nothing in its name says that they share it."""
    model = nn.ModuleDict(
        {"embed_tokens": nn.Embedding(60, 16), "layers": Encoder(2).layers, "adapter": nn.Linear(16, 60)}
    )
    checkpoint = renamed(model, lambda key: None if key.startswith("adapter") else key)
    assert solved(checkpoint, model, truth((key, key) for key in checkpoint)).missing_keys == (
        "adapter.weight",
        "adapter.bias",
    )


@pytest.mark.parametrize("words", [("/adam_m", "/adam_v"), (".exp_avg", ".exp_avg_sq"), ("/Momentum",)])
@pytest.mark.parametrize("beside", [True, False], ids=["beside", "behind"])
def test_optimizer_slots_are_left_out(words: tuple[str, ...], beside: bool) -> None:
    """They have the shapes of the weights; not one of them is loaded, and a note says so."""
    tensors: dict[str, torch.Tensor] = {}
    for key, tensor in Encoder().state_dict().items():
        tensors[key] = tensor
        if beside:
            tensors.update((key + word, tensor) for word in words)
    for word in () if beside else words:
        tensors.update((key + word, tensor) for key, tensor in Encoder().state_dict().items())
    slots = {key for key in tensors if key.endswith(words)}
    assignment = solved(tensors, HfEncoder(), by_rename(Encoder(), to_hf))
    assert set(assignment.unexpected_keys) == slots == set(assignment.harmless)
    assert any(f"{len(slots)} optimizer slots" in note for note in assignment.notes)


def twice(first: str, second: str) -> dict[str, object]:
    model = Encoder()
    return {**renamed(model, lambda key: first + key), **renamed(model, lambda key: second + key)}


@pytest.mark.parametrize(
    ("used", "left_out"),
    [
        ("teacher.", "student."),
        ("ema_model.", "online_model."),
        ("model.", "model_ema."),
        ("model.", "ema_model."),
        ("raw.", "ema."),
        ("encoder_q.", "encoder_k."),
        ("encoder.", "momentum_encoder."),
        ("online.", "target."),
    ],
)
@pytest.mark.parametrize("used_first", [True, False])
@pytest.mark.parametrize("hf", [False, True], ids=["same code", "other code"])
def test_names_tell_which_copy_is_meant(used: str, left_out: str, used_first: bool, hf: bool) -> None:
    """Of student and teacher the teacher, of raw and averaged weights what was trained; a note names the other."""
    checkpoint = twice(used, left_out) if used_first else twice(left_out, used)
    model = HfEncoder() if hf else Encoder()
    expected = truth((used + key, to_hf(key) if hf else key) for key in spec(Encoder()).keys)
    assignment = solved(checkpoint, model, expected)
    assert set(assignment.unexpected_keys) == {key for key in checkpoint if key.startswith(left_out)}
    assert any(left_out.removesuffix(".") in note for note in assignment.notes)


def test_what_a_network_lost_is_not_taken_from_its_average() -> None:
    """Wrapped otherwise, the two are copies all the same: no weights of both are mixed."""
    checkpoint = twice("model.module._orig_mod.", "ema.module.")
    lost = [key for key in checkpoint if key.startswith("model.") and key.endswith("norm1.weight")]
    for key in lost:
        del checkpoint[key]
    assignment = match(spec(checkpoint), spec(Encoder()))
    assert len(assignment.missing_keys) == len(lost)
    assert all(key.startswith("model.") for m in assignment.matches for key in m.checkpoint_keys)


@pytest.mark.parametrize(("token", "wrapper"), [("image", "image_encoder."), ("ema", "ema_model.")])
def test_the_model_says_that_the_named_copy_is_meant(token: str, wrapper: str) -> None:
    """A tower under a name beside one without: which of them, the model's own name tells."""
    checkpoint = twice("", f"{token}.")
    wanted = spec({wrapper + key: tensor for key, tensor in Encoder().state_dict().items()})
    expected = truth((f"{token}.{key}", wrapper + key) for key in spec(Encoder()).keys)
    assert found(match(spec(checkpoint), wanted)) == expected


def test_a_pin_takes_the_copy_without_a_name() -> None:
    """Whatever the model is called."""
    checkpoint = twice("", "image.")
    wanted = spec({f"image_encoder.{key}": tensor for key, tensor in Encoder().state_dict().items()})
    key = next(iter(Encoder().state_dict()))
    answer = match(spec(checkpoint), wanted, pin=[(key, f"image_encoder.{key}")])
    assert found(answer)[f"image_encoder.{key}",].checkpoint == (key,)


@pytest.mark.parametrize("wrapper", ["image.", "image.module."])
def test_the_named_copy_may_be_wrapped(wrapper: str) -> None:
    checkpoint = twice("", wrapper)
    wanted = spec({f"image_encoder.{key}": tensor for key, tensor in Encoder().state_dict().items()})
    expected = truth((wrapper + key, f"image_encoder.{key}") for key in spec(Encoder()).keys)
    assert found(match(spec(checkpoint), wanted)) == expected


def test_what_is_all_that_a_module_holds_is_no_second_registration() -> None:
    """`image.layers` beside `layers` may be another tower: nothing is loaded from either without a flag."""
    layers = {f"layers.{i}.{role}": (8,) * dims for i in range(3) for role, dims in (("weight", 2), ("bias", 1))}
    given = [*layers.items(), *((f"image.{key}", shape) for key, shape in layers.items())]
    wanted = [(f"image_encoder.{key}", shape) for key, shape in layers.items()]
    answer = match(spec(given), spec(wanted))
    sure = [m for m in answer.matches if not m.ambiguous]
    assert all(m.checkpoint_keys[0].startswith("image.") for m in sure)


def test_of_a_network_and_two_averages_the_network_is_used() -> None:
    three = {**twice("model_ema.", "online_ema."), **twice("model.", "model_ema.")}
    expected = truth((f"model.{key}", key) for key in spec(Encoder()).keys)
    solved(three, Encoder(), expected)


@pytest.mark.parametrize("names", [("alpha.", "beta."), ("net_a.", "net_b."), ("x.", "y.")])
def test_copies_whose_names_say_nothing_are_flagged(names: tuple[str, str]) -> None:
    """Nothing tells which is meant: every match is flagged, whichever copy it takes."""
    checkpoint, model = spec(twice(*names)), spec(HfEncoder())
    assignment = match(checkpoint, model)
    complete(assignment, checkpoint, model)
    assert flagged(assignment) == set(model.keys)


def test_a_model_that_holds_both_gets_both() -> None:
    solved(
        twice("student.", "teacher."),
        twice("student.", "teacher."),
        truth((k, k) for k in twice("student.", "teacher.")),
    )


@pytest.mark.parametrize("order", [("query_encoder.", "passage_encoder."), ("passage_encoder.", "query_encoder.")])
def test_two_towers_go_by_their_names(order: tuple[str, str]) -> None:
    """The file holds them in another order than the model."""
    checkpoint = twice(*order)
    solved(checkpoint, twice("query.", "passage."), truth((key, key.replace("_encoder", "")) for key in checkpoint))


@pytest.mark.parametrize("prefix", ["ema.", "ema_model.module.", "teacher."])
def test_a_second_copy_beside_bare_keys(prefix: str) -> None:
    """A module that keeps its average as a child: the bare keys have the very names of the model."""
    checkpoint = {**Encoder().state_dict(), **renamed(Encoder(), lambda key: prefix + key)}
    honest(checkpoint, Encoder(), truth((key, key) for key in spec(Encoder()).keys))


@pytest.mark.parametrize("front", ["", "state_dict."])
@pytest.mark.parametrize("stages", [False, True], ids=["same code", "other code"])
def test_averages_of_one_token_beside_the_model(front: str, stages: bool) -> None:
    """mmcv's EMAHook keeps `ema_input_blocks_0_0_weight` beside `input_blocks.0.0.weight`."""
    flat = Flat().state_dict()
    checkpoint = {f"{front}{key}": tensor for key, tensor in flat.items()}
    checkpoint.update((f"{front}ema_{key.replace('.', '_')}", tensor) for key, tensor in flat.items())
    model = Stages() if stages else Flat()
    solved(checkpoint, model, truth((f"{front}{key}", to_stages(key) if stages else key) for key in flat))


@pytest.mark.parametrize("word", ["k", "ema"])
def test_parts_of_layers_that_are_called_like_copies_are_none(word: str) -> None:
    """The model has both, `m0` and `k_m0`, the second under another name."""
    parts = [part for j in range(9) for part in (f"m{j}.weight", f"{word}_m{j}_weight")]
    keys = [(f"layers.{i}.{part}", (16, 16)) for i in range(4) for part in parts]
    answer = match(spec(keys), spec([(key.replace(f"{word}_m", "memo_m"), shape) for key, shape in keys]))
    assert not answer.unexpected_keys
    assert not answer.notes


def test_a_bias_beside_a_tied_weight_is_tied_though_others_are_as_long() -> None:
    """BERT's head keeps its bias twice, and a narrow model has other vectors of as many numbers as words."""
    words, width = 64, 24
    keys = [("embeddings.word_embeddings.weight", (words, width)), ("layer.0.output.dense.weight", (words, width + 8))]
    keys += [("layer.0.output.dense.bias", (words,)), ("cls.predictions.bias", (words,))]
    model = [*keys, ("cls.predictions.decoder.weight", (words, width)), ("cls.predictions.decoder.bias", (words,))]
    found = match(spec(keys), spec(model))
    served = {one.model_keys[0]: one for one in found.matches}
    assert served["cls.predictions.decoder.bias"].checkpoint_keys == ("cls.predictions.bias",)
    assert served["cls.predictions.decoder.bias"].ambiguous
    assert not served["cls.predictions.bias"].ambiguous


def test_two_towers_whose_names_say_nothing_are_flagged() -> None:
    """Only the order of the keys says that `alpha` is the question's tower; one of the two orders is wrong."""
    model = spec(twice("question.", "passage."))
    for checkpoint in (twice("alpha.", "beta."), twice("beta.", "alpha.")):
        assert flagged(match(spec(checkpoint), model)) == set(model.keys)


@pytest.mark.parametrize("stages", [False, True], ids=["same code", "other code"])
def test_averages_whose_names_lost_their_dots(stages: bool) -> None:
    """Latent diffusion keeps `model_ema.diffusion_modelinput_blocks00weight` beside the model."""
    flat = Flat().state_dict()
    checkpoint = {f"model.diffusion_model.{key}": tensor for key, tensor in flat.items()}
    checkpoint.update((f"model_ema.diffusion_model{key.replace('.', '')}", tensor) for key, tensor in flat.items())
    checkpoint["model_ema.decay"] = torch.empty(())
    checkpoint["model_ema.num_updates"] = torch.empty((), dtype=torch.int32)
    model = Stages() if stages else Flat()
    solved(
        checkpoint, model, truth((f"model.diffusion_model.{key}", to_stages(key) if stages else key) for key in flat)
    )


def test_an_embedding_is_shared_beside_a_head_of_its_shape() -> None:
    """T5: encoder and decoder share one embedding; the head is another tensor of the same shape."""
    model = nn.ModuleDict({"shared": nn.Embedding(60, 16), "encoder": Encoder(2), "decoder": Encoder(2)})
    model["lm_head"] = nn.Linear(16, 60, bias=False)
    shared = "shared.weight"
    copies = [f"{part}.embed_tokens.weight" for part in ("encoder", "decoder")]
    checkpoint = renamed(model, lambda key: None if key in copies else key)
    expected = truth((key, key) for key in checkpoint) | {(key,): Served((shared,)) for key in copies}
    assert flagged(honest(checkpoint, model, expected)) == set(copies)
    tied = model
    for part in ("encoder", "decoder"):
        tied[part].embed_tokens.weight = tied["shared"].weight
    solved(checkpoint, tied, expected)


class Saved(nn.Module):
    """What PEFT makes of a module that is to be trained whole."""

    def __init__(self, original: nn.Module) -> None:
        super().__init__()
        self.original_module = original
        self.modules_to_save = nn.ModuleDict({"default": original})


def test_a_copy_that_peft_makes_starts_equal() -> None:
    plain = nn.ModuleDict({"encoder": Encoder(2), "classifier": nn.Linear(16, 5)})
    model = nn.ModuleDict({"encoder": Encoder(2), "classifier": Saved(nn.Linear(16, 5))})
    served = {f"classifier.{role}": f"classifier.{{}}.{role}" for role in ("weight", "bias")}
    expected = truth((key, key) for key in spec(plain).keys if key not in served)
    for key, name in served.items():
        for part in ("original_module", "modules_to_save.default"):
            expected[name.format(part),] = Served((key,))
    solved(plain, spec([(t.key, t.shape) for t in spec(model).tensors]), expected)


def test_a_head_is_tied_to_what_the_embeddings_share() -> None:
    """Blenderbot's file holds the table three times, for the encoder, the decoder and both; the head not at all."""
    table = (50, 16)
    given = [(f"{c}.layers.{i}.fc.weight", (40, 16)) for c in ("encoder", "decoder") for i in range(2)]
    wanted = [(f"model.{key}", shape) for key, shape in given]
    pairs = [(s, t) for (s, _), (t, _) in zip(given, wanted, strict=True)]
    given += [(key, table) for key in ("embeddings.weight", "encoder.embeddings.weight", "decoder.embeddings.weight")]
    for s, t in (("", "shared"), ("encoder.", "encoder.embed_tokens"), ("decoder.", "decoder.embed_tokens")):
        pairs.append((f"{s}embeddings.weight", f"model.{t}.weight"))
    wanted += [(t, table) for _, t in pairs[-3:]] + [("lm_head.weight", table)]
    assignment = match(spec(given), spec(wanted))
    assert found(assignment) == truth([*pairs, ("embeddings.weight", "lm_head.weight")])
    assert "lm_head.weight" in flagged(assignment)


@pytest.mark.parametrize(("name", "serves"), [("shared_layer", True), ("layers.0", False)])
def test_one_layer_for_all_layers_is_shared_where_it_has_no_number(name: str, serves: bool) -> None:
    """ALBERT's one layer may begin a network of many; a file of one numbered layer is a shallower network's."""
    parts = {
        "attn.in_proj_weight": (24, 8),
        "attn.in_proj_bias": (24,),
        "mlp.0.weight": (32, 8),
        "mlp.2.weight": (8, 32),
    }
    parts |= {f"{norm}.{role}": (8,) for norm in ("norm1", "norm2") for role in ("weight", "bias")}
    given = spec([("embed.weight", (40, 8)), *((f"{name}.{key}", shape) for key, shape in parts.items())])
    layers = [(f"blocks.{i}.{key}", shape) for i in range(3) for key, shape in parts.items()]
    assignment = match(given, spec([("embed.weight", (40, 8)), *layers]))
    served = {key: m.checkpoint_keys for m in assignment.matches for key in m.model_keys}
    for key in parts:
        assert served[f"blocks.0.{key}"] == (f"{name}.{key}",)
        assert served.get(f"blocks.2.{key}") == ((f"{name}.{key}",) if serves else None)
    assert {f"blocks.2.{key}" for key in parts if serves} <= flagged(assignment)
