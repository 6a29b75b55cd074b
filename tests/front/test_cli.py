"""The commands as a person runs them: what is printed where, and the exit code."""

import io
import json
import os
import pty
import re
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from automatch.cli import main

MODEL = """
from torch import nn

def build(classes=4, *, width=8):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(width, classes))

def broken():
    raise RuntimeError("no such\\nconfig")
"""


def net(classes: int = 4) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, classes))


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A model as code and as files, and its checkpoint saved from DataParallel."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(MODEL)
    state_dict = net().state_dict()
    torch.save(state_dict, "same.pt")
    torch.save({"epoch": 1, "state_dict": OrderedDict((f"module.{k}", v) for k, v in state_dict.items())}, "ddp.pt")
    save_file({f"module.{k}": v for k, v in state_dict.items()}, "ddp.safetensors")
    torch.save(net(classes=9).state_dict(), "head.pt")
    return tmp_path


def run(*argv: str, capsys) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(argv)
    return code, *capsys.readouterr()


def test_what_fits_as_it_is(folder, capsys) -> None:
    code, out, err = run("diagnose", "same.pt", "net.py:build", capsys=capsys)
    assert (code, err) == (0, "")
    assert "rules: none needed" in out


def test_what_fits_by_rules_and_the_command_may_be_left_out(folder, capsys) -> None:
    code, out, err = run("ddp.pt", "net.py:build", capsys=capsys)
    assert (code, err) == (0, "")
    first = out.splitlines()[0]
    assert "module." in first
    for text in ("checkpoint (what the file has)", "ddp.pt", "model (what the code wants)", "rules: 1", "=> {"):
        assert text in out
    assert "load_state_dict(strict=True, assign=True)" in out
    assert run("diagnose", "ddp.pt", "net.py:build", capsys=capsys)[1] == out


def test_what_is_left_over(folder, capsys) -> None:
    code, out, err = run("head.pt", "net.py:build", capsys=capsys)
    assert (code, err) == (1, "")
    assert "3.weight" in out and "[9, 8]" in out and "[4, 8]" in out


def test_arguments_for_the_factory(folder, capsys) -> None:
    assert run("head.pt", "net.py:build(classes=9)", capsys=capsys)[0] == 0
    assert run("head.pt", "net.py:build", "--model-args", "9", "width=8", capsys=capsys)[0] == 0


def test_formats(folder, capsys) -> None:
    code, out, _ = run("ddp.pt", "net.py:build", "--format", "json", capsys=capsys)
    assert code == 0
    assert json.loads(out)["schema"] == 1
    assert json.loads(out)["checkpoint"]["at"] == "state_dict"
    assert run("ddp.pt", "net.py:build", "--format", "markdown", capsys=capsys)[1].startswith("**")
    source = run("ddp.pt", "net.py:build", "--format", "python", capsys=capsys)[1]
    names: dict = {}
    exec(source, names)
    net().load_state_dict(names["convert"](torch.load("ddp.pt", weights_only=True)["state_dict"]))


def test_output_goes_to_the_file_and_nothing_to_the_screen(folder, capsys) -> None:
    code, out, err = run("ddp.pt", "net.py:build", "--format", "json", "-o", "found.json", capsys=capsys)
    assert (code, out, err) == (0, "", "")
    assert json.loads(Path("found.json").read_text())["rules"]


def test_quiet_leaves_the_exit_code(folder, capsys) -> None:
    assert run("ddp.pt", "net.py:build", "--quiet", capsys=capsys) == (0, "", "")
    assert run("head.pt", "net.py:build", "--quiet", capsys=capsys) == (1, "", "")


def test_full_names_every_key(folder, capsys) -> None:
    out = run("ddp.pt", "net.py:build", "--full", capsys=capsys)[1]
    assert all(f"module.{key} => {key}" in out for key in net().state_dict())


def test_pins_and_forbidden_pairs_are_heard(folder, capsys) -> None:
    torch.save({"a": torch.zeros(3, 5), "b": torch.zeros(3, 5)}, "ab.pt")
    torch.save({"x": torch.zeros(3, 5), "y": torch.zeros(3, 5)}, "xy.pt")

    def pairs(*argv: str) -> dict[str, str]:
        read = json.loads(run("ab.pt", "xy.pt", "--format", "json", *argv, capsys=capsys)[1])
        return {match["model_keys"][0]: match["checkpoint_keys"][0] for match in read["matches"]}

    assert pairs("--pin", "b=x") == {"x": "b", "y": "a"}
    assert pairs("--pin", "a=x", "--pin", "b=y") == {"x": "a", "y": "b"}
    assert pairs("--forbid", "a=x").get("x") != "a"


def test_by_name_is_what_torch_does_with_strict_false(folder, capsys) -> None:
    read = json.loads(run("ddp.pt", "net.py:build", "--by", "name", "--format", "json", capsys=capsys)[1])
    assert read["matches"] == []


def test_at_chooses_the_dict(folder, capsys) -> None:
    other = {f"net.{key}": tensor for key, tensor in net().state_dict().items()}
    torch.save({"a": net().state_dict(), "b": {"ema": other}}, "two.pt")
    read = json.loads(run("two.pt", "net.py:build", "--at", "b.ema", "--format", "json", capsys=capsys)[1])
    assert read["checkpoint"]["at"] == "b.ema"
    assert read["rules"]


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_from_the_diagnosis_to_the_renamed_file(folder, capsys, suffix) -> None:
    source, target = f"ddp.{suffix}", f"new.{suffix}"
    assert run(source, "net.py:build", "--format", "json", "-o", "rules.json", capsys=capsys)[0] == 0
    code, out, err = run("apply", "rules.json", source, target, capsys=capsys)
    assert (code, err) == (0, "")
    assert target in out and "9 of 9 keys" in out
    written = load_file(target) if suffix == "safetensors" else torch.load(target, weights_only=True)["state_dict"]
    net().load_state_dict(written)
    assert run("diagnose", target, "net.py:build", "--quiet", capsys=capsys)[0] == 0


def test_keys_can_stand_for_either_side(folder, capsys) -> None:
    code, out, err = run("keys", "ddp.pt", capsys=capsys)
    assert (code, err) == (0, "")
    keys = json.loads(out)["keys"]
    assert keys[0] == ["module.0.weight", [8, 3, 3, 3], "float32"]
    assert run("keys", "ddp.pt", "-o", "ddp.keys.json", capsys=capsys) == (0, "", "")
    assert run("keys", "net.py:build", "-o", "net.keys.json", capsys=capsys) == (0, "", "")
    assert run("ddp.keys.json", "net.keys.json", "--quiet", capsys=capsys)[0] == 0


def test_explain_reads_files_and_stdin(folder, capsys, monkeypatch) -> None:
    with pytest.raises(RuntimeError) as error:
        net().load_state_dict(torch.load("ddp.pt", weights_only=True)["state_dict"])
    Path("error.txt").write_text(str(error.value))
    code, out, err = run("explain", "error.txt", capsys=capsys)
    assert (code, err) == (0, "")
    assert "module." in out
    for argv in (["explain"], ["explain", "-"]):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(Path("error.txt").read_bytes())))
        assert run(*argv, capsys=capsys)[1] == out
    read = json.loads(run("explain", "error.txt", "--format", "json", capsys=capsys)[1])
    assert (read["schema"], read["cause"], read["class_name"]) == (1, "prefix-module", "Sequential")


def test_hostile_names_are_escaped_wherever_they_appear(folder, capsys) -> None:
    torch.save({"\x1b]0;owned\x07": torch.zeros(2), "a\nb": torch.zeros(3), "\u202egnp.exe": torch.zeros(4)}, "evil.pt")
    texts = [
        run("diagnose", "evil.pt", "evil.pt", *argv, capsys=capsys)
        for argv in ([], ["--full"], ["--format", "markdown"], ["--format", "json"], ["--format", "python"])
    ]
    texts += [run("evil.pt", "net.py:build", *argv, capsys=capsys) for argv in ([], ["--full"])]
    texts += [run("keys", "evil.pt", capsys=capsys), run("evil.pt", "net.py:build", "--at", "\x1b[2J", capsys=capsys)]
    Path("evil.txt").write_text('Error(s) in loading state_dict for A:\n\tMissing key(s) in state_dict: "\x1b[2J". ')
    texts += [run("explain", "evil.txt", capsys=capsys)]
    for _, out, err in texts:
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", out + err)


def test_no_arguments_give_the_help(capsys) -> None:
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 0
    assert "automatch diagnose" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        ("diagnose one", "give MODEL; `automatch diagnose --help` shows what may be given"),
        ("diagnose a b --pin x", "--pin: 'x' is not of the form CHECKPOINT_KEY=MODEL_KEY; .*--help.*"),
        ("apply", "give RULES, IN, OUT; .*--help.*"),
        ("keys --no", "give FILE; .*"),
        ("keys same.pt --no", "`automatch keys` does not take '--no'; .*--help.*"),
        ("same.pt same.pt --quite", "`automatch diagnose` does not take '--quite'; did you mean --quiet\\?"),
        ("same.pt same.pt same.pt", "`automatch diagnose` does not take 'same.pt'; .*"),
        ("rules same.pt --dialect jsn", "--dialect: invalid choice: 'jsn' .*"),
        ("lern same.pt same.pt", "'lern' is neither a command nor a file; did you mean `automatch learn`\\?"),
        ("diagnos --help", "'diagnos' is neither a command nor a file; did you mean `automatch diagnose`\\?"),
        (
            "load same.pt net.py:build",
            "there is no `automatch load`; in Python, automatch.load\\(model, .*`automatch apply` .*",
        ),
        ("convert same.pt", "there is no `automatch convert`; `automatch apply RULES IN OUT` .*"),
        ("frobnicate", "'frobnicate' is neither .*; the commands are diagnose, rules, .*, demo"),
        ("same.pt net.py:build(4", "net.py:build\\(4: .* without a closing parenthesis; write .*"),
        ("rules same.pt same.pt -o rules.txt", "rules.txt: .txt is no ending .* \\.json, \\.yaml, .* --dialect"),
    ],
)
def test_wrong_use_is_one_sentence_and_code_2(argv, sentence, folder, capsys) -> None:
    before = sorted(path.name for path in folder.iterdir())
    code, out, err = run(*argv.split(), capsys=capsys)
    assert (code, out) == (2, "")
    assert re.fullmatch(f"automatch: {sentence}\n", err)
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_file_that_is_called_like_a_command_is_a_file(folder, capsys) -> None:
    Path("same.pt").rename("rule")
    assert run("rule", "net.py:build", capsys=capsys)[0] == 0


@pytest.mark.parametrize(("name", "start"), [("r.json", "{"), ("r.YAML", "# A"), ("r.py", '"""'), ("rules", "{")])
def test_the_ending_of_the_output_is_its_dialect(name, start, folder, capsys) -> None:
    assert run("rules", "same.pt", "net.py:build", "-o", name, capsys=capsys) == (0, "", "")
    assert Path(name).read_text().startswith(start)


@pytest.mark.parametrize(
    ("name", "start"),
    [("r.json", "{"), ("r.yml", "# A proposal"), ("r.md", "**saved"), ("r.py", '"""'), ("r.txt", "saved from")],
)
def test_a_diagnosis_is_written_as_the_ending_of_the_file_says(name, start, folder, capsys) -> None:
    assert run("ddp.pt", "net.py:build", "-o", name, capsys=capsys)[1:] == ("", "")
    assert Path(name).read_text().startswith(start)


def test_help_names_each_format_once(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["learn", "--help"])
    assert "{table,json,markdown,python,yaml}" in "".join(capsys.readouterr().out.split())


def command(*argv: str, **options) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "automatch", *argv], **options)


def in_terminal(*argv: str) -> str:
    """What the command prints on a terminal."""
    main_end, other_end = pty.openpty()
    env = {**{k: v for k, v in os.environ.items() if k != "NO_COLOR"}, "TERM": "xterm"}
    process = command(*argv, stdout=other_end, env=env)
    os.close(other_end)
    text = b""
    while True:
        try:
            more = os.read(main_end, 65536)
        except OSError:
            break
        if not more:
            break
        text += more
    process.wait()
    os.close(main_end)
    return text.decode()


def test_a_terminal_gets_colour(folder) -> None:
    assert "\x1b[32m" in in_terminal("ddp.safetensors", "ddp.safetensors")


@pytest.mark.parametrize(
    ("variable", "value", "coloured"), [("NO_COLOR", "", True), ("NO_COLOR", "1", False), ("TERM", "dumb", False)]
)
def test_colour_is_for_those_who_want_it(folder, capsys, monkeypatch, variable, value, coloured) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(variable, value)
    assert ("\x1b[" in run("same.pt", "same.pt", capsys=capsys)[1]) == coloured
    assert "\x1b[" not in run("same.pt", "same.pt", "--format", "markdown", capsys=capsys)[1]


def test_a_reader_that_leaves_is_no_error(folder) -> None:
    keys = [[f"layer{i}.{'x' * 40}.weight", [i], "float32"] for i in range(5000)]
    Path("many.keys.json").write_text(json.dumps({"keys": keys}))
    process = command("keys", "many.keys.json", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    process.wait()


def test_an_interrupt_is_one_line(monkeypatch, capsys) -> None:
    def interrupt(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("automatch.pipeline.read_keys", interrupt)
    code, out, err = run("keys", "x", capsys=capsys)
    assert (code, out, len(err.splitlines())) == (130, "", 1)


def test_a_screen_that_knows_no_unicode_gets_escapes(folder) -> None:
    torch.save({"größe.weight": torch.zeros(2)}, "umlaut.pt")
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    process = command("diagnose", "umlaut.pt", "umlaut.pt", stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    out, err = process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert b"gr\\xf6\\xdfe" in out
