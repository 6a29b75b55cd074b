"""The same question gets the same answer, byte for byte, in every process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from automatch.reading import write_key_list
from tests.matching.networks import Decoder, Encoder, Flat, HfEncoder, NestedResNet, ResNet, Stages, UpBlocks
from tests.matching.test_sharing import twice
from tests.matching.test_undecided import layers, opaque
from tests.matching.transformers import llama, mixture, to_meta
from tests.matching.truth import renamed, spec

CASES = {
    "other code": lambda: (Encoder(), HfEncoder()),
    "convolutions": lambda: (ResNet(classes=3), NestedResNet()),
    "backwards": lambda: (Decoder(), UpBlocks()),
    "nested": lambda: (Flat(), Stages()),
    "fused": lambda: (renamed(llama(), to_meta), llama(qkv=True, gate_up=True)),
    "stacks": lambda: (mixture("list"), mixture("fused")),
    "copies": lambda: (twice("alpha.", "beta."), HfEncoder()),
    "flagged": lambda: (opaque(1)[0], Encoder()),
    "left over": lambda: (layers(["red", "green", "blue"]), layers(["one", "two"])),
    "unrelated": lambda: (ResNet(), Encoder()),
}

CODE = """
import sys
from pathlib import Path
from automatch import diagnose
from automatch.matching import match
from automatch.reading import read_checkpoint
for mine in sorted(Path(sys.argv[1]).glob("*.mine.keys.json")):
    other = mine.with_name(mine.name.replace(".mine.", ".other."))
    print(mine.name, match(read_checkpoint(mine), read_checkpoint(other)))
    diagnosis = diagnose(mine, other)
    print(diagnosis.to_json())
    print(diagnosis)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("keys")
    for name, build in CASES.items():
        for side, source in zip(("mine", "other"), build(), strict=True):
            (out / f"{name}.{side}.keys.json").write_text(write_key_list(spec(source)), encoding="utf-8")
    return out


def answers(folder: Path, seed: str) -> bytes:
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run([sys.executable, "-c", CODE, str(folder)], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_hash_seeds_change_nothing(folder: Path) -> None:
    """Sets are iterated in another order in every process; no answer depends on that."""
    first = answers(folder, "0")
    assert first.count(b".mine.keys.json") >= len(CASES)
    assert answers(folder, "4242") == first
