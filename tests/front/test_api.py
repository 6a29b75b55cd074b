"""The Python side: small, typed, lazy, and the same as the command line."""

import subprocess
import sys

import networkx as nx
import pytest
import torch
from networkx.algorithms import bipartite
from torch import nn

import automatch
from automatch.cli import main
from automatch.reading import write_key_list


def net(classes: int = 4) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, classes))


def wrapped(state_dict: dict) -> dict:
    return {f"module.{key}": tensor for key, tensor in state_dict.items()}


def test_every_public_name_is_there() -> None:
    assert set(automatch.__all__) <= set(dir(automatch))
    for name in automatch.__all__:
        assert getattr(automatch, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        automatch.nonsense  # noqa: B018


HEAVY = "torch", "scipy", "networkx"


def test_the_api_on_key_lists_needs_no_torch(tmp_path) -> None:
    """Import, diagnose, every text form: none of the heavy packages."""
    (tmp_path / "a.keys.json").write_text(write_key_list(automatch.read_keys(wrapped(net().state_dict()))))
    (tmp_path / "b.keys.json").write_text(write_key_list(automatch.read_keys(net())))
    code = f"""
import sys
from automatch import diagnose
assert not {{*{HEAVY!r}}} & {{*sys.modules}}
d = diagnose("a.keys.json", "b.keys.json")
assert d.complete
str(d), d.table(full=True), d.to_markdown(), d.to_json(), d.to_python(), d.rules.rename("module.0.weight")
print(*[name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_diagnosis_of_a_wrapped_model() -> None:
    found = automatch.diagnose(checkpoint=wrapped(net().state_dict()), model=net())
    assert isinstance(found, automatch.Diagnosis)
    assert len(found.matches) == 9
    assert (found.missing_keys, found.unexpected_keys, found.mismatched_keys) == ((), (), ())
    assert found.complete and found.exit_code == 0
    assert "module." in found.verdict
    assert found.rules.rename("module.3.weight") == "3.weight"
    assert list(found.rules.apply(wrapped(net().state_dict()))) == list(net().state_dict())


def test_print_shows_what_the_command_shows(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(wrapped(net().state_dict()), "a.pt")
    torch.save(net(9).state_dict(), "b.pt")
    main(["a.pt", "b.pt"])
    shown = capsys.readouterr().out
    print(automatch.diagnose("a.pt", "b.pt"))
    assert capsys.readouterr().out == shown


def test_the_json_is_the_documented_one() -> None:
    found = automatch.diagnose(wrapped(net().state_dict()), net(9))
    read = found.to_dict()
    assert read["schema"] == 1
    assert isinstance(read["verdict"], str)
    assert set(read) >= {"matches", "missing_keys", "unexpected_keys", "mismatched_keys", "rules"}
    for match in read["matches"]:
        assert set(match) >= {
            "model_keys",
            "checkpoint_keys",
            "op",
            "confidence",
            "ambiguous",
            "alternatives",
            "reason",
        }
        assert 0 <= match["confidence"] <= 1
    for rule in read["rules"]:
        assert set(rule) >= {"pattern", "replacement", "op", "hits"}
    served = [key for match in read["matches"] for key in match["model_keys"]]
    assert sorted([*served, *read["missing_keys"]]) == sorted(net().state_dict())
    assert automatch.RuleSet.from_json(found.to_json()).rules == found.rules.rules


def undecidable() -> tuple[dict, dict]:
    """Three tensors of one shape for two places, and names that say nothing."""
    given, wanted = ({key: torch.zeros(3) for key in keys} for keys in ("abc", "xy"))
    return given, wanted


def test_what_the_evidence_does_not_decide_is_said_and_a_pin_decides() -> None:
    found = automatch.diagnose(*undecidable())
    assert found.exit_code == 1 and not found.complete
    assert all(match.ambiguous and match.alternatives for match in found.matches)
    assert "--pin" in str(found)
    decided = automatch.diagnose(*undecidable(), pin=[("c", "x"), ("a", "y")])
    assert [(match.checkpoint_keys, match.model_keys) for match in decided.matches] == [
        (("c",), ("x",)),
        (("a",), ("y",)),
    ]
    assert not decided.doubtful
    with pytest.raises(automatch.InputError, match="nowhere"):
        automatch.diagnose(*undecidable(), pin=[("nowhere", "x")])


def test_the_graph_holds_both_sides_and_the_evidence() -> None:
    found = automatch.diagnose(wrapped(net().state_dict()), net(9))
    graph = found.graph()
    assert isinstance(graph, nx.Graph)
    left = {("checkpoint", key) for key in found.checkpoint.keys}
    right = {("model", key) for key in found.model.keys}
    assert set(graph) == left | right
    assert bipartite.is_bipartite_node_set(graph, left)
    assert graph.nodes["model", "3.weight"] == {"bipartite": 1, "shape": (9, 8), "dtype": "float32"}
    edge = graph.edges[("checkpoint", "module.0.weight"), ("model", "0.weight")]
    assert edge["chosen"] and edge["op"] == "rename" and edge["reason"]
    assert edge["checkpoint_shape"] == edge["model_shape"] == (8, 3, 3, 3)
    assert 0.5 < edge["name_ratio"] < 1
    chosen = {(a[1], b[1]) for a, b, is_chosen in graph.edges(data="chosen") if is_chosen}
    assert {target for pair in chosen for target in pair} >= {key for m in found.matches for key in m.model_keys}


def test_the_graph_shows_what_else_would_do() -> None:
    found = automatch.diagnose(*undecidable())
    edges = found.graph().edges(data=True)
    assert {evidence["chosen"] for _, _, evidence in edges} == {True, False}
    assert all(evidence["ambiguous"] for _, _, evidence in edges)


def test_a_notebook_shows_it() -> None:
    found = automatch.diagnose(wrapped(net().state_dict()), net())
    assert found._repr_markdown_() == found.to_markdown()
    assert "| keys |" in found.to_markdown()


def test_keys_of_anything(tmp_path) -> None:
    torch.save({"model": net().state_dict(), "ema": wrapped(net().state_dict())}, tmp_path / "a.pt")
    assert automatch.read_keys(tmp_path / "a.pt", at="ema").keys[0] == "module.0.weight"
    assert automatch.read_keys(net()).by_key["1.running_mean"].kind == "buffer"
    assert automatch.read_keys("torch.nn:Linear", args=["3", "out_features=2"]).keys == ("weight", "bias")


def test_an_exception_explains_itself() -> None:
    with pytest.raises(RuntimeError) as raised:
        net().load_state_dict(wrapped(net().state_dict()))
    explanation = automatch.explain(str(raised.value))
    assert explanation.to_dict()["cause"] == "prefix-module"
    assert "module." in str(explanation)


def test_what_a_shell_echoes_is_one_short_line() -> None:
    found = automatch.diagnose(wrapped(net().state_dict()), net())
    model = net()
    shown = [found, found.rules, automatch.load(model, wrapped(net().state_dict()))]
    shown.append(automatch.explain('Error(s) in loading state_dict for Net:\n\tMissing key(s) in state_dict: "a.b". '))
    for value in shown:
        assert repr(value).startswith(f"<{type(value).__name__}: ") and len(repr(value)) < 200
    assert found.rules[0] is found.rules.rules[0]
