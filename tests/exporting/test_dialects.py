"""A dialect is one file and one name in the tuple: the command line asks the tuple."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from automatch.cli import main
from automatch.exporting import dialects


def test_the_command_line_writes_every_dialect_of_the_tuple(tmp_path, monkeypatch, capsys) -> None:
    sed = SimpleNamespace(NAME="sed", render=lambda rules: "\n".join(f"{r.pattern} -> {r.replacement}" for r in rules))
    monkeypatch.setattr(dialects, "DIALECTS", (*dialects.DIALECTS, sed))
    for name, key in (("old", "module.w"), ("new", "w")):
        (tmp_path / f"{name}.keys.json").write_text(json.dumps({"keys": [[key, [2], "float32"]]}), encoding="utf-8")
    old, new = str(tmp_path / "old.keys.json"), str(tmp_path / "new.keys.json")
    assert main([old, new, "--format", "sed"]) == 0
    assert " -> w" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["diagnose", "--help"])
    assert "python,sed}" in "".join(capsys.readouterr().out.split())
