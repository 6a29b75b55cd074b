"""Bad input: one sentence that names the file and the way out, exit code 2, nothing half written, nothing executed."""

import json
import os
import pickle
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from automatch.cli import main

MODEL = '{"keys": [["a.weight", [2, 2], "float32"]]}'


def good_pt(path: Path) -> None:
    torch.save({"a.weight": torch.zeros(2, 2), "b": torch.zeros(500)}, path)


def truncated_safetensors(path: Path) -> None:
    save_file({"a.weight": torch.zeros(200, 2)}, path)
    path.write_bytes(path.read_bytes()[:-100])


def truncated_zip(path: Path) -> None:
    good_pt(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def truncated_legacy(path: Path) -> None:
    torch.save({"a.weight": torch.zeros(500)}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-100])


def lying_header(path: Path) -> None:
    header = json.dumps({"a.weight": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 16]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 16)


def huge_header(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 1 << 62) + b"{" + b" " * 100)


class Attack:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch executed",)


def evil_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Attack()))


def evil_zip(path: Path) -> None:
    torch.save(Attack(), path)


def not_a_checkpoint(path: Path) -> None:
    path.write_text("<html>404: not found</html>")


def other_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")


def no_bytes(path: Path) -> None:
    path.write_bytes(b"")


def empty_dict(path: Path) -> None:
    torch.save({}, path)


def empty_safetensors(path: Path) -> None:
    save_file({}, path)


def only_numbers(path: Path) -> None:
    torch.save({"epoch": 3, "lr": 0.1}, path)


def only_an_optimizer(path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    torch.save(optimizer.state_dict(), path)


def keys_that_are_numbers(path: Path) -> None:
    torch.save({0: torch.zeros(2, 2), 1: torch.zeros(2)}, path)


def odd_key_list(path: Path) -> None:
    path.write_text('{"keys": [["a.weight", "2x2", "float32"]]}')


def missing_shard(path: Path) -> None:
    path.write_text('{"weight_map": {"a.weight": "model-00001-of-00002.safetensors"}}')


def escaping_shard(path: Path) -> None:
    path.write_text('{"weight_map": {"a.weight": "../../etc/passwd.safetensors"}}')


def a_folder(path: Path) -> None:
    path.mkdir()


def nothing(path: Path) -> None:
    """The file is not there."""


BAD = [
    nothing,
    a_folder,
    no_bytes,
    not_a_checkpoint,
    other_zip,
    truncated_safetensors,
    truncated_zip,
    truncated_legacy,
    lying_header,
    huge_header,
    evil_pickle,
    evil_zip,
    empty_dict,
    empty_safetensors,
    only_numbers,
    only_an_optimizer,
    keys_that_are_numbers,
    odd_key_list,
    missing_shard,
    escaping_shard,
]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("model.keys.json").write_text(MODEL)
    Path("rules.json").write_text('[{"pattern": ".*(?P<a>weight)", "replacement": "x.{a}"}]')
    return tmp_path


def refused(capsys, *argv: str) -> str:
    """The one line on stderr of a command that must be refused."""
    before = sorted(Path.cwd().iterdir())
    capsys.readouterr()
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("automatch: ")
    assert "Traceback" not in line and len(line) < 600
    assert sorted(Path.cwd().iterdir()) == before
    return line


def test_a_file_that_is_no_text_has_no_error_to_explain(folder, capsys) -> None:
    torch.save({"weight": torch.zeros(2)}, "weights.pth")
    assert "weights.pth: is no text" in refused(capsys, "explain", "weights.pth")


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
def test_a_bad_checkpoint_is_named_by_every_command(make, folder, capsys) -> None:
    name = "bad.index.json" if "shard" in make.__name__ else "bad.bin"
    make(folder / name)
    for argv in (
        ["diagnose", name, "model.keys.json", "-o", "found.txt"],
        ["diagnose", "model.keys.json", name, "--format", "json", "-o", "found.json"],
        ["keys", name, "-o", "out.keys.json"],
        ["apply", "rules.json", name, "out.bin"],
    ):
        assert name in refused(capsys, *argv)


@pytest.mark.parametrize("kind", [bytes, str])
def test_a_key_that_is_no_text_is_named(kind, folder, capsys) -> None:
    torch.save({(b"raw" if kind is bytes else 7): torch.zeros(2)}, "odd.pt")
    line = refused(capsys, "diagnose", "odd.pt", "model.keys.json")
    assert ("raw" if kind is bytes else "7") in line and "not a string" in line


FACTORIES = {
    "net.py:broken": "no such config",
    "net.py:absent": "absent",
    "net.py:number": "int",
    "net.py:leaves": "SystemExit",
    "nowhere.py:build": "nowhere.py",
    "no_such_package:build": "no_such_package",
    "net.py:broken(open('x'))": "literals",
}


@pytest.mark.parametrize(("factory", "message"), FACTORIES.items(), ids=FACTORIES)
def test_a_factory_that_fails_is_named(factory, message, folder, capsys) -> None:
    Path("net.py").write_text(
        "import sys\n"
        "def broken():\n    raise RuntimeError('no such\\nconfig')\n"
        "def leaves():\n    sys.exit(3)\n"
        "def number():\n    return 3\n"
    )
    good_pt(folder / "good.pt")
    line = refused(capsys, "diagnose", "good.pt", factory)
    assert factory in line and message in line


def test_a_place_that_is_not_there_is_named(folder, capsys) -> None:
    good_pt(folder / "good.pt")
    assert "nowhere.at.all" in refused(capsys, "diagnose", "good.pt", "model.keys.json", "--at", "nowhere.at.all")
    assert "nowhere" in refused(capsys, "apply", "rules.json", "good.pt", "out.pt", "--at", "nowhere")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "JSON"),
        ('{"schema": 1}', "rules"),
        ('[{"pattern": "(", "replacement": "x"}]', "rule 1"),
        ('[{"pattern": "a", "replacement": "{b}"}]', "'b'"),
        ('[{"pattern": "a", "replacement": "{().__class__}"}]', "rule 1"),
        ('[{"pattern": ".*", "replacement": "x"}]', "'x'"),
        ('[{"pattern": "zzz", "replacement": "x"}]', "no rule takes"),
        ('[{"pattern": "a.weight", "replacment": "x"}]', 'rule 1: there is no field "replacment"; write "replacement"'),
        ('[{"pattern": "(a).weight", "replacement": "\\\\1.w"}]', "rule 1: \\1 is no group here; groups are named"),
        ('[{"pattern": "(a).weight", "replacement": "{1}.w"}]', "rule 1: {1} is no group here; groups are named"),
        ('[{"pattern": "a.weight", "replacement": "x", "op": "concat"}]', 'rule 1: concat needs "part"'),
        (
            '[{"pattern": "(?P<n>a).weight", "replacement": "{n+1}"}]',
            "good.pt: rule 1, key 'a.weight': the replacement calculates with 'n', which captured 'a'",
        ),
    ],
)
def test_bad_rules_are_named(text, message, folder, capsys) -> None:
    good_pt(folder / "good.pt")
    Path("bad.json").write_text(text)
    assert message in refused(capsys, "apply", "bad.json", "good.pt", "out.pt")


@pytest.mark.parametrize("target", ["nowhere/out.txt", "."])
def test_an_output_that_cannot_be_written_is_named(target, folder, capsys) -> None:
    good_pt(folder / "good.pt")
    assert target in refused(capsys, "diagnose", "good.pt", "model.keys.json", "-o", target)
    assert target in refused(capsys, "keys", "good.pt", "-o", target)
    assert target in refused(capsys, "apply", "rules.json", "good.pt", target)


def test_a_text_without_an_error_is_said(folder, capsys) -> None:
    Path("poem.txt").write_text("roses are red")
    assert "state_dict" in refused(capsys, "explain", "poem.txt")
    assert "absent.txt" in refused(capsys, "explain", "absent.txt")


def test_names_from_files_cannot_speak_to_the_terminal(folder, capsys) -> None:
    torch.save({"\x1b[2J\n": torch.zeros(2), b"\x1b[31m": torch.zeros(2)}, "odd\x1b[2J.pt")
    line = refused(capsys, "diagnose", "odd\x1b[2J.pt", "model.keys.json")
    assert not re.search(r"[\x00-\x1f]", line)


def test_nothing_was_executed(folder, capsys) -> None:
    evil_pickle(folder / "evil.pkl")
    evil_zip(folder / "evil.pt")
    torch.save({"model": {"a.weight": torch.zeros(2, 2)}, "hook": Attack()}, "beside.pt")
    for name in ("evil.pkl", "evil.pt", "beside.pt"):
        for argv in (
            ["diagnose", name, "model.keys.json"],
            ["keys", name],
            ["apply", "rules.json", name, "out.pt"],
        ):
            main(argv)
    capsys.readouterr()
    assert not Path("executed").exists()
    assert not Path("out.pt").exists()


def test_a_pickle_beside_the_weights_is_read_around(folder, capsys) -> None:
    """Something opaque beside a state_dict does not hinder the comparison; it is named."""
    torch.save({"model": {"a.weight": torch.zeros(2, 2)}, "hook": Attack()}, "beside.pt")
    assert main(["diagnose", "beside.pt", "model.keys.json"]) == 0
    assert "system" in capsys.readouterr().out
    assert not Path("executed").exists()
