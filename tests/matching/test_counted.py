"""Lists whose numbers run against each other: decoders, and what Keras counts without a first number."""

from __future__ import annotations

import pytest

from automatch.matching import match
from tests.matching.truth import flagged, found, spec, truth

Keys = list[tuple[str, tuple[int, ...]]]
WIDTHS = (4, 5, 6, 7, 8, 8, 8)


def dispnet() -> tuple[Keys, Keys]:
    """SfMLearner's DispNet, flat, and the same with a list of the items of its decoder."""
    mine: Keys = []
    theirs: Keys = []
    for i, width in enumerate(WIDTHS):
        before = WIDTHS[i - 1] if i else 3
        mine += [(f"conv{i + 1}.0.weight", (width, before, 3, 3)), (f"conv{i + 1}.2.weight", (width, width, 3, 3))]
        theirs += [(f"encoder.{i}.{part}.weight", mine[n - 2][1]) for n, part in enumerate(("stride", "conv"))]
    up = [(WIDTHS[i], WIDTHS[min(i + 1, 6)], 3, 3) for i in range(7)]
    merge = [(WIDTHS[i], WIDTHS[i] + (WIDTHS[i - 1] if i else 0), 3, 3) for i in range(7)]
    mine += [(f"upconv{i}.0.weight", up[i - 1]) for i in range(7, 0, -1)]
    mine += [(f"iconv{i}.0.weight", merge[i - 1]) for i in range(7, 0, -1)]
    for i in range(7):
        theirs += [(f"decoder.{i}.up.weight", up[6 - i]), (f"decoder.{i}.merge.weight", merge[6 - i])]
    return mine, theirs


def test_what_is_counted_down_follows_the_items_of_a_size_of_their_own() -> None:
    """`upconv7` is the first of the decoder, as `upconv4` and those after it show."""
    mine, theirs = dispnet()
    answer = found(match(spec(mine), spec(theirs)))
    for i in range(7):
        assert answer[f"decoder.{i}.up.weight",].checkpoint == (f"upconv{7 - i}.0.weight",)


def test_what_is_of_one_size_follows_what_stands_beside_it() -> None:
    """FlowNet's `upsampled_flow5_to_4` are all of one size; the convolutions of the same items are not."""
    widths = (24, 38, 20, 11)
    mine: Keys = [(f"deconv{4 - i}.0.weight", (widths[i], 3 + i, 4, 4)) for i in range(3)]
    mine += [(f"predict_flow{5 - i}.weight", (2, width, 3, 3)) for i, width in enumerate(widths)]
    mine += [(f"upsampled_flow{5 - i}_to_{4 - i}.weight", (2, 2, 4, 4)) for i in range(3)]
    theirs: Keys = [("coarse_flow.weight", (2, widths[0], 3, 3))]
    for i in range(3):
        theirs += [
            (f"refine.{i}.deconv.0.weight", (widths[i], 3 + i, 4, 4)),
            (f"refine.{i}.upflow.weight", (2, 2, 4, 4)),
        ]
        theirs += [(f"refine.{i}.flow.weight", (2, widths[i + 1], 3, 3))]
    answer = match(spec(mine), spec(theirs))
    assert flagged(answer) == {f"refine.{i}.upflow.weight" for i in range(3)}
    for i in range(3):
        assert found(answer)[f"refine.{i}.upflow.weight",].checkpoint == (f"upsampled_flow{5 - i}_to_{4 - i}.weight",)


@pytest.mark.parametrize("by_item", [False, True], ids=["by family", "by item"])
def test_what_is_counted_up_does_not_follow_what_is_counted_down(by_item: bool) -> None:
    """Skip connections lead from the last stage to the first; what is beside them keeps its order."""
    skips: Keys = [(f"skip.{i}.weight", (10 + i, 9 + i, 3, 3)) for i in range(4)]
    convs: Keys = [(f"conv.{i}.weight", (8, 8)) for i in range(4)]
    mine = [entry for pair in zip(convs, skips, strict=True) for entry in pair] if by_item else convs + skips
    theirs: Keys = [
        (f"dec.{i}.{part}.weight", shape)
        for i in range(4)
        for part, shape in (("post", (8, 8)), ("up", skips[3 - i][1]))
    ]
    answer = match(spec(mine), spec(theirs))
    wrong = {
        f"dec.{i}.post.weight" for i in range(4) if found(answer)[f"dec.{i}.post.weight",].checkpoint != convs[i][:1]
    }
    assert wrong <= flagged(answer)


def test_whole_blocks_that_were_made_against_their_numbers() -> None:
    """`dec3, dec2, dec1` in the order in which they are used: numbers and order contradict each other."""
    mine: Keys = [
        (f"dec{i}.{part}.weight", (8, 8, 3, 3)) for i in (3, 2, 1) for part in ("conv1", "conv2", "out", "up")
    ]
    theirs: Keys = [(f"decoder.{i}.{key.split('.', 1)[1]}", shape) for i in range(3) for key, shape in mine[:4]]
    rest: Keys = [("stem.weight", (5, 3))]
    assert flagged(match(spec(rest + mine), spec(rest + theirs))) == {key for key, _ in theirs}
    made_so = sorted(mine, key=lambda entry: entry[0][:4])
    answer = match(spec(rest + made_so), spec(rest + theirs))
    assert not flagged(answer) and found(answer)["decoder.0.up.weight",].checkpoint == ("dec1.up.weight",)


@pytest.mark.parametrize("pins", [{"dec1": "decoder.3"}, {"dec4": "decoder.0", "dec3": "decoder.1"}])
def test_a_pin_turns_the_list_round(pins: dict[str, str]) -> None:
    """The first item goes last: no other place is left for the others but the way back, and that is no guess."""
    parts = {"0.weight": (8, 8, 3, 3), "0.bias": (8,), "1.weight": (8,), "1.bias": (8,)}
    mine: Keys = [(f"dec{i}.{part}", shape) for i in (4, 3, 2, 1) for part, shape in parts.items()]
    theirs: Keys = [(f"decoder.{i}.{part}", shape) for i in range(4) for part, shape in parts.items()]
    rest: Keys = [("stem.weight", (5, 3))]
    answer = match(spec(rest + mine), spec(rest + theirs), pin=list(pins.items()))
    assert not flagged(answer)
    for (a, _), (b, _) in zip(mine, theirs, strict=True):
        assert found(answer)[b,].checkpoint == (a,)


def test_nothing_says_which_way() -> None:
    """All of one size, and numbers against order: as before, flagged."""
    mine: Keys = [(f"up{4 - i}.weight", (6, 6)) for i in range(4)]
    theirs: Keys = [(f"decoder.{i}.weight", (6, 6)) for i in range(4)]
    rest: Keys = [("stem.weight", (5, 3)), ("head.weight", (2, 6))]
    answer = match(spec(mine + rest), spec(theirs + rest))
    assert {key for key, _ in theirs} <= flagged(answer) | set(answer.missing_keys)


@pytest.mark.parametrize("lost", ["", "_feedforward_dense", "_output_dense"])
def test_the_first_of_a_list_in_keras_though_the_others_lost_several_tensors(lost: str) -> None:
    """`encoder`, `encoder_1`, `encoder_2`: what the layers after the first lack does not shift them by one."""
    dense = {"_query_dense": 16, "_key_dense": 16, "_value_dense": 16, "_output_dense": 16, "_feedforward_dense": 40}
    words = dict(zip(dense, ("q_proj", "k_proj", "v_proj", "out_proj", "fc1"), strict=True))
    mine: Keys = []
    theirs: Keys = []
    pairs = []
    for i in range(3):
        for name, width in dense.items():
            stem = f"layers/encoder{f'_{i}' if i else ''}/{name}"
            goal = f"model.layers.{i}.{words[name]}"
            theirs += [(f"{goal}.weight", (width, 16)), (f"{goal}.bias", (width,))]
            if i == 0 or name != lost:
                mine += [(f"{stem}/kernel", (16, width)), (f"{stem}/bias", (width,))]
                pairs += [(f"{stem}/kernel", f"{goal}.weight"), (f"{stem}/bias", f"{goal}.bias")]
    answer = found(match(spec(mine), spec(theirs)))
    assert {keys[0]: served.checkpoint[0] for keys, served in answer.items()} == {b: a for a, b in pairs}


@pytest.mark.parametrize("inside", [("conv.weight",), ("up.weight", "conv.weight", "out.weight", "lateral.weight")])
def test_what_was_made_from_the_last_number_on_is_taken_as_it_was_made(inside: tuple[str, ...]) -> None:
    """MaskFormer makes `layer_3, layer_2, layer_1`, in the order of their use, and the other side counts as it goes."""
    given = [(f"head.layer_{i}.{key}", (8, 8, 3, 3)) for i in (3, 2, 1) for key in inside]
    wanted = [(f"fpn.{i}.{key}", (8, 8, 3, 3)) for i in range(3) for key in inside]
    for one, other in ((given, wanted), (wanted, given)):
        answer = match(spec(one), spec(other))
        assert found(answer) == truth((s, t) for (s, _), (t, _) in zip(one, other, strict=True))
        assert flagged(answer) == {key for key, _ in other}
