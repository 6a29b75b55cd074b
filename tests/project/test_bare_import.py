"""What a user pays before anything happens."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "scipy", "networkx", "numpy", "transformers")


def heavy_modules_after(code: str, *args: str) -> list[str]:
    """Runs code in a fresh interpreter; gives the heavy packages that it imported."""
    code += f"\nimport sys; print('heavy:', *[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=True)
    return done.stdout.rsplit("heavy:", 1)[1].split()


def test_import_is_light() -> None:
    assert heavy_modules_after("import automatch") == []


def test_help_is_light() -> None:
    code = """
import sys
from automatch.cli import main
try:
    sys.exit(main(["--help"]))
except SystemExit as stop:
    assert not stop.code
"""
    assert heavy_modules_after(code) == []


def write_key_list(path: Path, prefix: str) -> str:
    entries = [
        [f"{prefix}blocks.{i}.{name}", shape, "float32"]
        for i in range(6)
        for name, shape in (("norm.weight", [8]), ("norm.bias", [8]), ("linear.weight", [16, 8]))
    ]
    path.write_text(json.dumps({"keys": entries}))
    return str(path)


def write_safetensors(path: Path, prefix: str) -> str:
    import torch
    from safetensors.torch import save_file

    save_file({f"{prefix}blocks.{i}.weight": torch.zeros(8, i + 1) for i in range(6)}, path)
    return str(path)


@pytest.mark.parametrize(("write", "name"), [(write_key_list, "a.keys.json"), (write_safetensors, "a.safetensors")])
@pytest.mark.parametrize("output", ["table", "json", "markdown", "python"])
def test_the_way_from_two_files_to_the_diagnosis_needs_no_torch(write, name, output, tmp_path) -> None:
    checkpoint, model = write(tmp_path / f"checkpoint-{name}", "module."), write(tmp_path / f"model-{name}", "")
    code = """
import sys
from automatch.cli import main
try:
    code = main(["diagnose", *sys.argv[1:]])
except SystemExit as stop:
    code = stop.code
assert not code, code
"""
    heavy = heavy_modules_after(code, checkpoint, model, "--format", output)
    assert not {"torch", "scipy", "networkx"} & set(heavy)


def test_python_m_automatch_is_the_command() -> None:
    script = str(Path(sys.executable).parent / "automatch")
    texts = [
        subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
        for command in ([sys.executable, "-m", "automatch"], [script])
    ]
    assert texts[0] == texts[1]
    for command in ("diagnose", "explain", "apply", "keys", "demo"):
        assert command in texts[0]


def test_the_version_is_the_package_version() -> None:
    from importlib.metadata import version

    done = subprocess.run([sys.executable, "-m", "automatch", "--version"], capture_output=True, text=True, check=True)
    assert version("automatch") in done.stdout
