"""What learning from values costs: `automatch learn` beside what reading both files once takes.

    python benchmarks/learning.py [--megabytes N] [--rounds N]

The floor is a Python that imports numpy, maps both files and adds up their words once: nothing can compare two files
without reading them. Ours is `python -m automatch learn ORIGINAL CONVERTED` on the same files: a LLaMA of random
weights and what Hugging Face's converter makes of it (rotary rows permuted, gate and up joined), once in float32 and
once cast to bfloat16. Both are timed in turn in the same run; medians.

Memory: `own` is the peak of what belongs to the process alone, `resident` counts mapped pages of the files as well,
which the system can take back at any time. The largest tensor of each file is given beside them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from measuring import run_python, time_in_turn
from numpy.typing import NDArray

HEAD = 64
HEADS = 8
WIDTH = HEAD * HEADS
FEED = 4 * WIDTH
VOCABULARY = 32_000
BLOCK = 1 << 22

Tensors = dict[str, NDArray[np.float32]]

FLOOR = f"""
import sys, numpy
for path in sys.argv[1:]:
    data = numpy.memmap(path, numpy.uint8, 'r')
    whole = len(data) // 4 * 4
    print(sum(int(data[i:min(i + {BLOCK}, whole)].view('u4').sum(dtype='u8')) for i in range(0, whole, {BLOCK})))
"""

MEMORY = """
import re, sys, threading, time
from pathlib import Path
from automatch.cli import main
def status(word):
    return int(re.findall(word + r':\\s+(\\d+) kB', Path('/proc/self/status').read_text())[0]) * 1024
peak, going = 0, True
def watch():
    global peak
    while going:
        peak = max(peak, status('RssAnon'))
        time.sleep(0.002)
thread = threading.Thread(target=watch)
thread.start()
main(['learn', *sys.argv[1:], '--quiet'])
going = False
thread.join()
print(peak, status('VmHWM'))
"""


def original(megabytes: int) -> Tensors:
    """A LLaMA of about so many megabytes in float32, with random values."""
    random = np.random.default_rng(0)

    def tensor(*shape: int) -> NDArray[np.float32]:
        return random.standard_normal(shape, np.float32)

    layer = 4 * (2 * WIDTH * WIDTH + 2 * WIDTH * WIDTH // 2 + 3 * WIDTH * FEED)
    tensors = {"tok_embeddings.weight": tensor(VOCABULARY, WIDTH)}
    for i in range(max(1, (megabytes * 10**6 - 2 * 4 * VOCABULARY * WIDTH) // layer)):
        shapes = {
            "attention.wq": (WIDTH, WIDTH), "attention.wk": (WIDTH // 2, WIDTH), "attention.wv": (WIDTH // 2, WIDTH),
            "attention.wo": (WIDTH, WIDTH), "feed_forward.w1": (FEED, WIDTH), "feed_forward.w2": (WIDTH, FEED),
            "feed_forward.w3": (FEED, WIDTH), "attention_norm": (WIDTH,), "ffn_norm": (WIDTH,),
        }  # fmt: skip
        tensors.update({f"layers.{i}.{name}.weight": tensor(*shape) for name, shape in shapes.items()})
    return {**tensors, "norm.weight": tensor(WIDTH), "output.weight": tensor(VOCABULARY, WIDTH)}


def converted(old: Tensors) -> Tensors:
    """What the converter makes of it."""
    words = {"attention.wv": "self_attn.v_proj", "attention.wo": "self_attn.o_proj", "feed_forward.w2": "mlp.down_proj",
             "attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}  # fmt: skip
    new = {"model.embed_tokens.weight": old["tok_embeddings.weight"], "model.norm.weight": old["norm.weight"]}
    for i in range(sum(key.endswith("wq.weight") for key in old)):
        for name, other in words.items():
            new[f"model.layers.{i}.{other}.weight"] = old[f"layers.{i}.{name}.weight"]
        for name in "qk":
            rows = old[f"layers.{i}.attention.w{name}.weight"]
            turned = rows.reshape(-1, HEAD // 2, 2, WIDTH).swapaxes(1, 2).reshape(rows.shape)
            new[f"model.layers.{i}.self_attn.{name}_proj.weight"] = turned
        both = [old[f"layers.{i}.feed_forward.w{n}.weight"] for n in (1, 3)]
        new[f"model.layers.{i}.mlp.gate_up_proj.weight"] = np.concatenate(both)
    return {**new, "lm_head.weight": old["output.weight"]}


def write(path: Path, tensors: Tensors, bfloat16: bool) -> None:
    """Writes a safetensors file by hand, as numpy has no bfloat16."""
    width, word = (2, "BF16") if bfloat16 else (4, "F32")
    header, end = {}, 0
    for key, tensor in tensors.items():
        begin, end = end, end + width * tensor.size
        header[key] = {"dtype": word, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for data in map(_rounded, tensors.values()) if bfloat16 else tensors.values():
            stream.write(data.tobytes())


def _rounded(tensor: NDArray[np.float32]) -> NDArray[np.uint16]:
    """To the nearest bfloat16, ties to even."""
    bits = tensor.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def peaks_of(files: list[str]) -> tuple[int, int]:
    """Peaks of the learning process in bytes: of its own memory, and of what is resident (Linux only)."""
    own, resident = run_python("-c", MEMORY, *files).stdout.split()
    return int(own), int(resident)


def rows(megabytes: int, rounds: int) -> Iterator[str]:
    """The table's lines."""
    heads = ("files", "floor", "ours", "ratio", "own", "resident", "largest tensor")
    yield f"{'conversion':12s}" + "".join(f"{head:>{max(9, len(head) + 1)}s}" for head in heads)
    with tempfile.TemporaryDirectory() as folder:
        old = original(megabytes)
        largest = max(tensor.nbytes for tensor in old.values())
        first = Path(folder, "original.safetensors")
        write(first, old, bfloat16=False)
        for name, cast in (("float32", False), ("bfloat16", True)):
            second = Path(folder, f"{name}.safetensors")
            write(second, converted(old), cast)
            files = [str(first), str(second)]
            floor, ours = time_in_turn([["-c", FLOOR, *files], ["-m", "automatch", "learn", *files, "--quiet"]], rounds)
            size = sum(path.stat().st_size for path in (first, second))
            own, resident = peaks_of(files)
            yield (
                f"{name:12s}{size / 1e6:6.0f} MB{floor.wall:7.2f} s{ours.wall:7.2f} s{ours.wall / floor.wall:9.2f}"
                f"{own / 1e6:6.0f} MB{resident / 1e6:6.0f} MB{largest / 1e6:12.0f} MB"
            )


def main() -> None:
    """Measures both conversions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=600, help="size of the original (default: 600)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each command (default: 3)")
    arguments = parser.parse_args()
    for line in rows(arguments.megabytes, arguments.rounds):
        print(line)


if __name__ == "__main__":
    main()
