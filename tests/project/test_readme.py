"""The README is what people run: its commands, its links, and the options that it promises."""

import copy
import re
import shlex
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from automatch.cli import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "corpus" / "README.md", *DOCS]


def shell_lines(text: str) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line and not line.startswith("#")]


def test_ci_runs_exactly_the_test_command() -> None:
    (command,) = [line for line in shell_lines(README) if line.endswith("-m pytest")]
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert command in ci
    commands = [line for line in ci if line and not line.startswith(("#", "set ", "cd "))]
    assert commands == [command]


def test_both_commands_begin_alike_and_pin_the_same_versions() -> None:
    setups = [line for line in shell_lines(README) if "venv .venv" in line]
    assert len(setups) == 2
    assert all("pip install -c constraints.txt -e" in line for line in setups)


def test_what_the_readme_shows_is_what_the_demo_prints() -> None:
    (shown,) = re.findall(r"```text\n(.*?)```", README, flags=re.DOTALL)
    done = subprocess.run([sys.executable, "-m", "automatch", "demo"], capture_output=True, text=True, check=True)
    printed = done.stdout.splitlines()
    for line in shown.splitlines():
        assert line in printed or line == "..."


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    trained = nn.Sequential(OrderedDict(stem=nn.Linear(3, 5), norm=nn.LayerNorm(5), head=nn.Linear(5, 2)))
    model = copy.deepcopy(trained)
    nn.init.zeros_(model.stem.weight)
    wrapped = nn.DataParallel(trained).state_dict()
    torch.save(wrapped, "checkpoint.pth")
    with pytest.raises(RuntimeError, match="Error") as error:
        model.load_state_dict(wrapped)
    names = {"model": model, "state_dict": wrapped, "error": error.value}
    exec(code, names)
    assert list(names["state_dict"]) == list(model.state_dict())
    assert torch.equal(model.stem.weight, trained.stem.weight)
    assert "module." in capsys.readouterr().out


def test_the_first_example_needs_only_what_is_installed(tmp_path, monkeypatch, capsys) -> None:
    first, second = (line for line in shell_lines(README) if "torch.nn" in line)
    subprocess.run([sys.executable, *shlex.split(first)[1:]], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(second)[1:]) == 0
    assert "module." in capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    files = [target for target in targets if "://" not in target]
    assert not [target for target in files if not (page.parent / target).exists()]


def help_of(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "automatch", *command, "--help"], capture_output=True, text=True, check=True
    )
    return done.stdout


COMMANDS = ("diagnose", "rules", "learn", "check", "apply", "keys", "explain", "demo")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_manual_names_every_option(command: str) -> None:
    manual = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    section = manual.split(f"\n## automatch {command}", 1)[1].split("\n## ", 1)[0]
    common = manual.split("\n## Every command", 1)[1].split("\n## ", 1)[0]
    linked = [(ROOT / "docs" / page).read_text(encoding="utf-8") for page in re.findall(r"\]\((\w+\.md)\)", section)]
    section += "".join(linked)
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", help_of(command)))
    assert options
    assert not {option for option in options if f"`{option}" not in section + common}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_manual_invents_no_option(command: str) -> None:
    manual = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    section = manual.split(f"\n## automatch {command}", 1)[1].split("\n## ", 1)[0]
    real = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", help_of(command)))
    assert not set(re.findall(r"`(--[a-z][a-z-]*)", section)) - real


@pytest.mark.parametrize("page", PAGES[:2] + DOCS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_line_of_the_pages_is_understood(page: Path) -> None:
    """Every `automatch ...` line of a shell block names a real command and real options."""
    for line in shell_lines(page.read_text(encoding="utf-8")):
        for part in re.split(r"&&|\|", line):
            words = shlex.split(part, comments=True)
            if words[:1] != ["automatch"]:
                continue
            text = help_of(words[1] if words[1] in COMMANDS else "diagnose")
            options = [word.split("=", 1)[0] for word in words[1:] if word.startswith("-") and len(word) > 1]
            assert not [option for option in options if not re.search(rf"(?<![\w-]){option}(?![\w-])", text)], line
