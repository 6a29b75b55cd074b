"""Perturbed cases: what is changed is changed as said, and the truth stays the truth."""

import re
from itertools import groupby

import pytest
from cases import CORPUS, Case, Truth, read_cases
from perturbing import PERTURBATIONS, Perturbation
from scoring import Answer, score

SMALL = [CORPUS / "accidents", CORPUS / "versions" / "tv012-vit-2layer_to_tv-vit.json.gz", CORPUS / "gguf"]
BY_NAME = {p.name: p.change for p in PERTURBATIONS}


@pytest.fixture(scope="module")
def small() -> list[Case]:
    return [case for case in read_cases(SMALL) if len(case.source) < 400]


def perfect(case: Case) -> dict[str, Answer]:
    return {
        key: Answer(true.source, true.op, i if len(true.target) > 1 else None)
        for true in case.truth
        for i, key in enumerate(true.target)
    }


@pytest.mark.parametrize("perturbation", PERTURBATIONS, ids=lambda p: p.name)
def test_the_truth_stays_certain(small, perturbation: Perturbation) -> None:
    changed = [(case, new) for case in small if (new := perturbation.change(case, 1)) is not None]
    assert changed
    for case, new in changed:
        keys = [key for key, _, _ in new.source], [key for key, _, _ in new.target]
        assert all(len(set(side)) == len(side) for side in keys), case.id
        used = {key for true in new.truth for key in true.source}
        assert used | set(new.unexpected) == set(keys[0]), case.id
        placed = [key for true in new.truth for key in true.target] + list(new.missing)
        assert len(set(placed)) == len(placed), case.id
        assert set(placed) <= set(keys[1]), case.id
        assert score(new, perfect(new), []).solved, case.id
        assert new == perturbation.change(case, 1)


def toy() -> Case:
    names = [f"net.layer.{i}.{module}.{role}" for i in range(3) for module in ("norm", "fc") for role in ("bias",)]
    source = tuple((name, (2,), "float32") for name in ["net.embed.weight", *names])
    target = tuple((f"model.{key}", shape, dtype) for key, shape, dtype in source)
    truth = tuple(Truth((f"model.{key}",), (key,), "rename") for key, _, _ in source)
    return Case("toy", "toys", source, target, truth, (), (), (), None)


def test_one_word_becomes_one_other_word() -> None:
    case = toy()
    whole, modules = BY_NAME["ciphered"](case, 1), BY_NAME["modules-ciphered"](case, 1)
    words = [re.split(r"\W", key) for key, _, _ in case.source]
    for new, kept in ((whole, set()), (modules, {"weight", "bias"})):
        told = [re.split(r"\W", key) for key, _, _ in new.source]
        code = {(a, b) for one, other in zip(words, told, strict=True) for a, b in zip(one, other, strict=True)}
        assert len({a for a, _ in code}) == len(code) == len({b for _, b in code})
        assert {a for a, b in code if a == b and not a.isdecimal()} == kept
    assert whole != BY_NAME["ciphered"](case, 2)


def test_modules_change_places_alike_in_all_layers_and_layers_do_not() -> None:
    seen = set()
    for seed in range(8):
        new = BY_NAME["shuffled"](toy(), seed)
        if new is None:
            continue
        layers = [key.split(".")[3:5] for key, _, _ in new.target if ".layer." in key]
        assert [number for number, _ in groupby(number for number, _ in layers)] == ["0", "1", "2"]
        orders = {tuple(module for at, module in layers if at == number) for number in "012"}
        assert len(orders) == 1
        seen |= orders
    assert seen == {("norm", "fc"), ("fc", "norm")}


def test_the_last_layers_go_on_one_side() -> None:
    changed = [BY_NAME["depth"](toy(), seed) for seed in range(8)]
    left = {
        tuple(len({key for key, _, _ in side if ".layer." in key}) // 2 for side in (new.source, new.target))
        for new in changed
    }
    assert left <= {(1, 3), (2, 3), (3, 1), (3, 2)}
    assert len(left) > 2
    assert {len(new.missing) for new in changed} <= {0, 2, 4}


def test_a_copy_doubles_the_checkpoint_and_is_unexpected() -> None:
    new = BY_NAME["copy"](toy(), 1)
    assert len(new.source) == 2 * len(toy().source)
    assert set(new.unexpected) == {key for key, _, _ in new.source[len(toy().source) :]}
    assert BY_NAME["copy"](new, 1) is None or not new.unexpected[0].startswith("ema")
