"""`automatch learn` as a person types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from automatch.cli import main
from automatch.rules.rule_set import RuleSet
from tests.learning.networks import Llama, llama_of_hugging_face, trained


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    torch.manual_seed(0)
    folder, model = tmp_path_factory.mktemp("llama"), trained(Llama(4, 2, 2))
    save_file(model.state_dict(), folder / "old.safetensors")
    save_file(llama_of_hugging_face(model), folder / "new.safetensors")
    return str(folder / "old.safetensors"), str(folder / "new.safetensors")


def test_the_report_speaks_of_original_and_conversion(files, capsys) -> None:
    assert main(["learn", *files]) == 0
    out, err = capsys.readouterr()
    assert "original" in out and "conversion" in out and "values: equal" in out and "automatch learn" in out
    assert "what the code wants" not in out and err == ""


def test_the_ending_of_the_output_says_what_is_written(files, tmp_path, capsys) -> None:
    for name in ("rules.json", "convert.py", "report.md"):
        assert main(["learn", *files, "-o", str(tmp_path / name)]) == 0
    assert len(RuleSet.from_json((tmp_path / "rules.json").read_text())) > 3
    assert "def convert(state_dict)" in (tmp_path / "convert.py").read_text()
    assert (tmp_path / "report.md").read_text().startswith("**")
    assert main(["learn", *files, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["complete"]


def test_what_cannot_be_learnt_is_one_sentence(files, tmp_path, capsys) -> None:
    assert main(["learn", files[0], str(tmp_path / "none.safetensors")]) == 2
    assert main(["learn", *files, "-o", files[1]]) == 2
    assert main(["learn", *files, "--pin", "output.weight=model.embed_tokens.weight"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_other_values_are_left_over(files, tmp_path) -> None:
    save_file(llama_of_hugging_face(trained(Llama(4, 2, 2))), tmp_path / "other.safetensors")
    assert main(["learn", files[0], str(tmp_path / "other.safetensors"), "--quiet"]) == 1


def test_safetensors_are_compared_without_torch(files) -> None:
    code = (
        "import sys\nfrom automatch.cli import main\nassert main(['learn', *sys.argv[1:]]) == 0\n"
        "assert not {'torch', 'networkx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, *files], capture_output=True, check=True)


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a terminal to look at")
def test_a_bar_is_drawn_where_a_person_looks(files) -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "automatch", "learn", *files, "--quiet"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, check=True)
    os.close(theirs)
    drawn = os.read(ours, 65536).decode()
    os.close(ours)
    assert "reading [" in drawn and "comparing [" in drawn and drawn.endswith("\r")
    assert done.stdout == b""
