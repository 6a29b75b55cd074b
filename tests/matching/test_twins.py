"""What a model registers twice, and a checkpoint holds once."""

from __future__ import annotations

import pytest
from torch import nn

from automatch.matching import match
from tests.matching.truth import complete, flagged, renamed, spec


class Block(nn.Module):
    """A convolution and its norm, and a list that holds both once more, as in nnU-Net."""

    def __init__(self, before: int, width: int, listed: bool = True) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(before, width, 3), nn.InstanceNorm2d(width, affine=True)
        if listed:
            self.all_modules = nn.Sequential(self.conv, self.norm)


class Net(nn.Module):
    """An encoder, which the decoder refers to."""

    def __init__(self, twice: bool = True) -> None:
        super().__init__()
        sizes = ((1, 8), (8, 16), (16, 32))
        self.encoder = nn.ModuleDict({"stages": nn.ModuleList(Block(a, b, twice) for a, b in sizes)})
        self.decoder = nn.ModuleDict({"encoder": self.encoder} if twice else {})
        self.decoder["stages"] = nn.ModuleList(Block(b, a, twice) for a, b in reversed(sizes))


def plain() -> dict[str, object]:
    """The checkpoint of older code: every tensor once, other names."""
    words = {"encoder.stages": "context", "decoder.stages": "localization", "norm": "instnorm"}

    def rename(key: str) -> str:
        for old, new in words.items():
            key = key.replace(old, new)
        return key

    return renamed(Net(twice=False), rename)


@pytest.mark.parametrize("live", [True, False], ids=["a live model", "a list of keys"])
def test_every_name_of_a_tensor_is_served_by_the_one_of_the_checkpoint(live: bool) -> None:
    """A live model says which keys are one tensor; of a list of keys that is a guess, and flagged."""
    model = spec(Net()) if live else spec([(t.key, t.shape) for t in spec(Net()).tensors])
    checkpoint = spec(plain())
    assignment = match(checkpoint, model)
    complete(assignment, checkpoint, model)
    assert not assignment.missing_keys and not assignment.unexpected_keys
    served = {key: m.checkpoint_keys[0] for m in assignment.matches for key in m.model_keys}
    for key, by in served.items():
        bare = key.removeprefix("decoder.") if key.startswith("decoder.encoder.") else key
        bare = bare.replace("all_modules.0", "conv").replace("all_modules.1", "norm")
        words = bare.replace("encoder.stages", "context").replace("decoder.stages", "localization")
        assert by == words.replace("norm", "instnorm")
    again = {key for key in model.keys if "all_modules" in key or key.startswith("decoder.encoder")}
    assert flagged(assignment) == (set() if live else again)


def test_a_checkpoint_that_holds_both_serves_both() -> None:
    """Saved from the same model: every key is its own."""
    state = {f"module.{key}": tensor for key, tensor in Net().state_dict().items()}
    assignment = match(spec(state), spec([(t.key, t.shape) for t in spec(Net()).tensors]))
    assert {m.model_keys[0]: m.checkpoint_keys[0] for m in assignment.matches} == {
        k: f"module.{k}" for k in Net().state_dict()
    }


def test_decisions_hold_for_what_is_registered_twice() -> None:
    checkpoint, model = spec(plain()), spec([(t.key, t.shape) for t in spec(Net()).tensors])
    first, copy = "encoder.stages.0.conv.weight", "encoder.stages.0.all_modules.0.weight"
    by = "context.0.conv.weight"
    forbidden = match(checkpoint, model, forbid=[(by, copy)])
    assert copy in forbidden.missing_keys and len(forbidden.missing_keys) == 1
    for pinned, left in ((first, 0), (copy, 4)):  # with the copy itself pinned, its module's other names wait
        assignment = match(checkpoint, model, pin=[(by, pinned)])
        complete(assignment, checkpoint, model)
        served = {key: m.checkpoint_keys for m in assignment.matches for key in m.model_keys}
        assert served[pinned] == (by,)
        assert len(assignment.missing_keys) == left


def tower(name: str, layers: str, depth: int = 2) -> list[tuple[str, tuple[int, ...]]]:
    """The keys of a small encoder."""
    parts = {"attn.weight": (24, 8), "out.weight": (8, 8), "mlp.0.weight": (32, 8), "mlp.2.weight": (8, 32)}
    norms = {f"{norm}.{role}": (8,) for norm in ("norm1", "norm2") for role in ("weight", "bias")}
    inside = [(f"{layers}.{i}.{key}", shape) for i in range(depth) for key, shape in (parts | norms).items()]
    return [(f"{name}.{key}", shape) for key, shape in [("embed.weight", (11, 8)), *inside]]


def test_one_network_begins_both_towers_of_a_model() -> None:
    """Whether the second tower of a bi-encoder is meant to begin as the first, or is missing, no key shows."""
    given = spec([*tower("encoder", "blocks"), ("mlm.weight", (8, 8)), ("mlm.bias", (8,))])
    wanted = spec([("temperature", (1,)), *tower("query", "layers"), *tower("passage", "layers")])
    assignment = match(given, wanted)
    complete(assignment, given, wanted)
    served = {key: m.checkpoint_keys[0] for m in assignment.matches for key in m.model_keys}
    for key, _ in tower("passage", "layers"):
        bare = key.removeprefix("passage.")
        assert served[key] == served[f"query.{bare}"] == f"encoder.{bare.replace('layers', 'blocks')}"
        assert key in flagged(assignment)


def test_two_networks_in_the_file_serve_two_towers() -> None:
    given = spec([*tower("q", "blocks"), *tower("p", "blocks")])
    wanted = spec([*tower("query", "layers"), *tower("passage", "layers")])
    served = {key: m.checkpoint_keys[0] for m in match(given, wanted).matches for key in m.model_keys}
    assert len(set(served.values())) == len(served) == len(wanted.keys)


@pytest.mark.parametrize("which", ["actor", "critic"])
def test_a_network_that_is_called_as_one_of_two_is_that_one(which: str) -> None:
    """A file of the critic alone says nothing of the actor, though the two are built alike."""
    given = spec(tower(which, "layers"))
    wanted = spec([*tower("actor", "layers"), *tower("critic", "layers")])
    answer = match(given, wanted)
    served = {key: m.checkpoint_keys[0] for m in answer.matches for key in m.model_keys}
    assert {key: served[key] for key in served if key not in flagged(answer)} == {key: key for key in given.keys}
    assert not any("layers" in key for key in flagged(answer))


@pytest.mark.parametrize("lost", ["out.weight", "norm1.bias", "mlp.0.weight"])
def test_two_networks_that_lost_tensors_serve_their_own_towers(lost: str) -> None:
    both = [*tower("query", "layers"), *tower("passage", "layers")]
    given = spec([(key, shape) for key, shape in both if not key.endswith(lost)])
    for m in match(given, spec(both)).matches:
        assert m.ambiguous or m.model_keys == m.checkpoint_keys
