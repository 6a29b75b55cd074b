"""Where the output goes: never over an input, to stdout, to devices, to a full disk, to a reader that has gone."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from automatch.cli import main

ENTRIES = ", ".join(f'["a{i}.weight", [2, {i}], "float32"]' for i in range(1, 900))
FULL_DISK = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
COMMAND = [sys.executable, "-m", "automatch"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a.keys.json", "b.keys.json"):
        Path(name).write_text(f'{{"keys": [{ENTRIES}]}}')
    Path("net.py").write_text("# A proposal of automatch\ndef build():\n    return {}\n")
    Path("rules.json").write_text('[{"pattern": "a", "replacement": "b"}]')
    return tmp_path


def refused(capsys, *argv: str) -> str:
    """The one line of a command that must be refused, and touch no file."""
    before = {path: path.read_bytes() for path in Path.cwd().iterdir()}
    assert main(argv) == 2
    assert {path: path.read_bytes() for path in Path.cwd().iterdir()} == before
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("link", ["same", "symlink", "hardlink"])
def test_an_input_is_never_overwritten(link, capsys) -> None:
    for source in ("a.keys.json", "b.keys.json", "rules.json", "net.py"):
        name = source
        if link != "same":
            name = f"other-{source}"
            target = Path(name)
            (target.symlink_to if link == "symlink" else target.hardlink_to)(source)
        commands = {
            "rules.json": ["apply", "rules.json", "a.keys.json", name],
            "net.py": ["diagnose", "a.keys.json", "net.py:build", "-o", name],
        }
        usual = ["diagnose", "a.keys.json", "b.keys.json", "-o", name]
        assert "input itself" in refused(capsys, *commands.get(source, usual))
    assert "input itself" in refused(capsys, "keys", "a.keys.json", "-o", "a.keys.json")


def test_a_shard_is_an_input(tmp_path, capsys) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, "part.safetensors")
    Path("m.index.json").write_text('{"weight_map": {"a": "part.safetensors"}}')
    Path("shard.txt").hardlink_to("part.safetensors")
    assert "input itself" in refused(capsys, "diagnose", "m.index.json", "a.keys.json", "-o", "shard.txt")


@pytest.mark.parametrize(
    "command", ["diagnose a.keys.json b.keys.json", "rules a.keys.json b.keys.json", "keys a.keys.json"]
)
def test_text_replaces_no_checkpoint_and_no_program_of_others(command, capsys) -> None:
    Path("other.pth").write_bytes(b"weights")
    Path("mine.py").write_text("import automatch\n")
    assert "ending of a checkpoint" in refused(capsys, *command.split(), "-o", "other.pth")
    assert "automatch did not write it" in refused(capsys, *command.split(), "-o", "mine.py")
    assert (Path("other.pth").read_bytes(), Path("mine.py").read_text()) == (b"weights", "import automatch\n")
    assert "there is no folder far/away; make it first" in refused(capsys, *command.split(), "-o", "far/away/x.json")


def test_a_check_is_written_as_its_ending_says(capsys) -> None:
    main(["check", "rules.json", "a.keys.json", "b.keys.json", "-o", "check.json"])
    assert json.loads(Path("check.json").read_text())["complete"] is False
    main(["check", "rules.json", "a.keys.json", "b.keys.json", "-o", "check.txt"])
    assert Path("check.txt").read_text().startswith("no rule is needed")


def test_a_dash_is_stdout_and_devices_are_written_to(capsys) -> None:
    main(["keys", "a.keys.json"])
    shown = capsys.readouterr().out
    assert main(["keys", "a.keys.json", "-o", "-"]) == 0
    assert capsys.readouterr().out == shown
    assert not Path("-").exists()
    assert main(["diagnose", "a.keys.json", "b.keys.json", "-o", "/dev/null"]) == 0


@FULL_DISK
def test_a_full_disk_is_one_sentence(capsys) -> None:
    assert "/dev/full" in refused(capsys, "diagnose", "a.keys.json", "b.keys.json", "-o", "/dev/full")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*COMMAND, "keys", "a.keys.json"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("automatch: ") and "space" in line


@pytest.mark.skipif(shutil.which("sh") is None, reason="no shell")
@pytest.mark.parametrize(("arguments", "code"), [("demo", 0), ("keys a.keys.json", 0), ("a.keys.json b.keys.json", 0)])
def test_a_reader_that_leaves_early_is_no_failure(arguments, code) -> None:
    line = f"( '{sys.executable}' -m automatch {arguments}; echo $? >&2 ) | head -c 1 >/dev/null"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True)
    assert done.stderr.split() == [str(code)]
