"""What a user waits for on a small job: the whole of `automatch diagnose`, from the shell to the printed diagnosis.

    python benchmarks/startup.py [--rounds N]

The floor is a Python that imports numpy and reads the two files: any tool built on numpy pays it. Ours is
`python -m automatch diagnose CHECKPOINT MODEL` on the same files: a checkpoint and a model of 315 keys each, named by
two different hands. Both are timed in turn in the same run; medians. `torch` must not be imported on the way.
"""

from __future__ import annotations

import argparse
import json
import struct
import tempfile
from pathlib import Path

from measuring import imported_modules, time_in_turn

Keys = list[tuple[str, list[int]]]

FLOOR = {
    "keys.json": "import numpy, json, sys\nfor p in sys.argv[1:]: json.load(open(p))",
    "safetensors": (
        "import numpy, json, sys, struct\n"
        "for p in sys.argv[1:]:\n"
        "    f = open(p, 'rb'); json.loads(f.read(struct.unpack('<Q', f.read(8))[0]))"
    ),
}


def name_keys(prefix: str, block: str, words: dict[str, str]) -> Keys:
    """The keys of a transformer of 24 blocks, in the words of one library."""
    size = 64
    shapes = {
        "norm1": [size], "query": [size, size], "value": [size, size // 2], "out": [size, size // 4],
        "norm2": [size * 2], "up": [size * 4, size], "down": [size, size * 4],
    }  # fmt: skip
    keys: Keys = [(f"{prefix}{words['embedding']}.weight", [1000, size])]
    for i in range(24):
        for part, shape in shapes.items():
            keys.append((f"{prefix}{block}.{i}.{words[part]}.weight", shape))
            if len(shape) == 2 or part == "norm1":
                keys.append((f"{prefix}{block}.{i}.{words[part]}.bias", shape[:1]))
    return [*keys, (f"{prefix}{words['norm1']}.weight", [size]), (f"{prefix}{words['norm1']}.bias", [size])]


def checkpoint_keys() -> Keys:
    """As a wrapper saved it, in older words."""
    words = {
        "embedding": "tok_embeddings", "norm1": "ln_1", "norm2": "ln_2", "query": "attn.wq", "value": "attn.wv",
        "out": "attn.wo", "up": "mlp.fc_in", "down": "mlp.fc_out",
    }  # fmt: skip
    return name_keys("module.", "h", words)


def model_keys() -> Keys:
    """As the model says it."""
    words = {
        "embedding": "embed_tokens", "norm1": "norm1", "norm2": "norm2", "query": "self_attn.q_proj",
        "value": "self_attn.v_proj", "out": "self_attn.o_proj", "up": "mlp.up_proj", "down": "mlp.down_proj",
    }  # fmt: skip
    return name_keys("", "layers", words)


def write_key_list(path: Path, keys: Keys) -> None:
    """Writes what `automatch keys -o` writes."""
    path.write_text(json.dumps({"keys": [[key, shape, "float32"] for key, shape in keys]}), encoding="utf-8")


def write_safetensors(path: Path, keys: Keys) -> None:
    """Writes a safetensors file of zeros, by hand: the floor must not need a library either."""
    header, end = {}, 0
    for key, shape in keys:
        begin, size = end, 4
        for dimension in shape:
            size *= dimension
        end = begin + size
        header[key] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)


def main() -> None:
    """Measures both kinds of file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="runs of each command (default: 9)")
    rounds = parser.parse_args().rounds
    print(f"{'files':12s} {'floor':>9s} {'ours':>9s} {'ratio':>7s} {'cpu ratio':>10s}  imports torch, scipy, networkx")
    with tempfile.TemporaryDirectory() as folder:
        for suffix, write in (("keys.json", write_key_list), ("safetensors", write_safetensors)):
            checkpoint, model = Path(folder, f"checkpoint.{suffix}"), Path(folder, f"model.{suffix}")
            write(checkpoint, checkpoint_keys())
            write(model, model_keys())
            files = [str(checkpoint), str(model)]
            ours = ["-m", "automatch", "diagnose", *files]
            floor_time, our_time = time_in_turn([["-c", FLOOR[suffix], *files], ours], rounds)
            heavy = sorted({"torch", "scipy", "networkx"} & imported_modules(*ours))
            print(
                f"{suffix:12s} {floor_time.wall * 1000:6.0f} ms {our_time.wall * 1000:6.0f} ms"
                f" {our_time.wall / floor_time.wall:7.2f} {our_time.cpu / floor_time.cpu:10.2f}"
                f"  {', '.join(heavy) or 'none'}"
            )


if __name__ == "__main__":
    main()
