"""`*.keys.json`: written, read back, and refused where an entry is not of the form."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from automatch.errors import InputError, UnsafeInputError
from automatch.reading import Limits, read_checkpoint, write_key_list
from automatch.spec import StateDictSpec, TensorSpec


def test_a_list_written_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "a.keys.json"
    path.write_text('{"keys": [["w", [2, 3], "float32"], ["n", [], "int64"]]}')
    spec = read_checkpoint(path)
    assert spec.tensors == (TensorSpec("w", (2, 3), "float32"), TensorSpec("n", (), "int64"))
    assert (spec.name, spec.origin, spec.files) == (str(path), "key list", (str(path),))


@pytest.mark.parametrize("name", ["a.keys.json", "a.keys.json.gz", "whatever"])
def test_compressed_or_not_by_content(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(b' {"name": "x", "keys": [["w", [1], "bool"]]}'))
    assert read_checkpoint(path).keys == ("w",)
    path.write_bytes(b'\xef\xbb\xbf\n {"keys": [["w", [1], "bool"]]}')
    assert read_checkpoint(path).keys == ("w",)


def test_one_key_a_line_with_kinds_and_ties(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    model[2].weight = model[0].weight
    spec = read_checkpoint(model)
    text = write_key_list(spec)
    assert text.count("\n") == len(spec) + 5
    assert '\n  ["0.weight", [2, 2], "float32"],\n' in text
    (tmp_path / "a.keys.json").write_text(text)
    again = read_checkpoint(tmp_path / "a.keys.json")
    assert again.tensors == spec.tensors
    assert json.loads(text)["versions"] == {"2": ["1"]}  # batch norm's
    assert again.versions == spec.versions == {"": {"version": 1}, **{str(i): {"version": 1 + i % 2} for i in range(3)}}


def test_versions_are_written_only_where_all_are_known() -> None:
    state_dict = nn.ModuleDict({"a": nn.ModuleDict({"b": nn.Linear(2, 2)})}).state_dict()
    assert json.loads(write_key_list(read_checkpoint(state_dict)))["versions"] == {}
    del state_dict._metadata["a"]
    assert "versions" not in json.loads(write_key_list(read_checkpoint(state_dict)))


def test_a_checkpoint_says_nothing_of_kinds() -> None:
    text = write_key_list(read_checkpoint({"w": torch.zeros(1)}))
    assert json.loads(text) == {"name": "state_dict", "keys": [["w", [1], "float32"]]}


KEYS = st.text(max_size=8)
TENSORS = st.builds(
    TensorSpec,
    KEYS,
    st.lists(st.integers(0, 2**40), max_size=4).map(tuple),
    st.sampled_from(["float32", "bfloat16", "float8_e4m3fn", "bool"]),
    st.none(),
    st.none(),
)


@given(st.lists(TENSORS, min_size=1, unique_by=lambda t: t.key), st.text())
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, tensors: list[TensorSpec], name: str
) -> None:
    path = tmp_path_factory.mktemp("list") / "a.keys.json"
    try:
        path.write_text(write_key_list(StateDictSpec(name, tuple(tensors))), encoding="utf-8")
        spec = read_checkpoint(path)
    except InputError as error:
        assert "cannot be true" in str(error)  # sizes that overflow together
        return
    assert spec.tensors == tuple(tensors)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ('[["w", [1]]]', "entry .* is not of the form"),
        ('[["w", 1, "float32"]]', "entry .* is not of the form"),
        ('["abc"]', "entry 'abc' is not of the form"),
        ("[3]", "entry 3 is not of the form"),
        ('[{"a": 1, "b": [2], "c": 3}]', "entry .* is not of the form"),
        ('[["w", {"a": 1}, "float32"]]', "entry .* is not of the form"),
        ('[[3, [1], "float32"]]', "key 3 is not a string"),
        ('[[null, [1], "float32"]]', "key None is not a string"),
        ('[["w", [-1], "float32"]]', "key 'w' has shape"),
        ('[["v", [1], "float32"], ["w", [1.0], "float32"]]', "key 'w' has shape"),
        ('[["w", [true], "float32"]]', "key 'w' has shape"),
        ('[["w", ["1"], "float32"]]', "key 'w' has shape"),
        ('[["w", [[1]], "float32"]]', "key 'w' has shape"),
        ('[["w", [9223372036854775807, 2], "float32"]]', "key 'w' has shape"),
        ('[["w", [1], 32]]', "32 is no dtype"),
        ('[["w", [1], null]]', "None is no dtype"),
        ('[["w", [1], ["float32"]]]', r"\['float32'\] is no dtype"),
        ('[["w", [1], "float 32"]]', "'float 32' is no dtype"),
        ('[["w", [1], "float32"], ["w", [2], "float32"]]', "key 'w' is there twice"),
        ('[["\\ud800", [1], "float32"]]', "not valid Unicode"),
        ("{}", "not a key list"),
        ("[]", "lists no keys"),
        ('[["w", [1], "float32"]], "keys": []', "a field is there twice"),
        ('[["w", [1], "float32"]], "buffers": ["v"]', "'v' is named"),
        ('[["w", [1], "float32"]], "buffers": 3', '"buffers" must be a list'),
        ('[["w", [1], "float32"]], "tied": {"w": "v"}', "'v' is named"),
        ('[["w", [1], "float32"]], "tied": 3', '"tied" must be'),
        ('[["w", [1], "float32"]], "tied": [3]', '"tied" must be'),
        ('[["w", [1], "float32"]], "versions": [2]', '"versions" must be'),
        ('[["w", [1], "float32"]], "versions": {"2": "w"}', '"versions" must be'),
        ('[["w", [1], "float32"]], "versions": {"-2": [""]}', '"versions" must be'),
        ('[["w", [1], "float32"]], "versions": {"2": [3]}', '"versions" must be'),
        ('[["a.w", [1], "float32"]], "versions": {"2": ["b"]}', "'b' is named"),
    ],
)
def test_refused(tmp_path: Path, rows: str, reason: str) -> None:
    path = tmp_path / "a.keys.json"
    path.write_text(f'{{"keys": {rows}}}')
    with pytest.raises(InputError, match=reason) as caught:
        read_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_limits(tmp_path: Path) -> None:
    path = tmp_path / "a.keys.json"
    path.write_bytes(gzip.compress(b'{"keys": []' + b" " * 100_000 + b"}"))
    with pytest.raises(UnsafeInputError, match=r"unpacks to more than 1000 bytes \(limit json_bytes\)"):
        read_checkpoint(path, limits=Limits(json_bytes=1000))
    path.write_text('{"keys": [' + " " * 1000 + "]}")
    with pytest.raises(UnsafeInputError, match="more than a key list may have"):
        read_checkpoint(path, limits=Limits(json_bytes=1000))
