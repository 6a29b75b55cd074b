"""What is in the package that users install."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """The wheel, built with the build backend that is installed already: no network."""
    folder = tmp_path_factory.mktemp("wheel")
    code = f"from hatchling.build import build_wheel; print(build_wheel({str(folder)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return zipfile.ZipFile(folder / done.stdout.split()[-1])


def test_wheel_holds_every_file_of_the_package(wheel) -> None:
    files = {
        str(p.relative_to(ROOT))
        for p in (ROOT / "automatch").rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == files
    assert "automatch/py.typed" in packed


def test_wheel_carries_the_licence_and_the_command(wheel) -> None:
    names = {name.split(".dist-info/")[-1]: name for name in wheel.namelist()}
    assert "Apache License" in wheel.read(names["licenses/LICENSE"]).decode()
    assert "automatch = automatch.cli:main" in wheel.read(names["entry_points.txt"]).decode()
    metadata = wheel.read(names["METADATA"]).decode()
    assert "Requires-Python: >=3.10" in metadata
    assert "License-Expression: Apache-2.0" in metadata
