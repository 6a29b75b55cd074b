"""How time and memory grow: a mixture-of-experts model of 10,000 and of 100,000 keys, named by two different hands.

    python benchmarks/scale.py [KEYS...]

Of each size, once with both sides alike, and once with the experts of the model in stacks, gate and up in one.

The floor is `json.loads` of the two key lists, which no tool that reads them can avoid. Ours is `automatch.diagnose` on
the same two files, reading included. Each runs in a process of its own; time is that of the call, without start-up
(a small comparison goes before it: modules are imported and regexes compiled when they are first needed, which
`startup.py` measures); memory is the peak of the whole process.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from measuring import REPORT_PEAK, run_python

EXPERTS = 64

FLOOR = """
import json, sys, time
start = time.perf_counter()
both = [json.loads(open(path).read()) for path in sys.argv[1:]]
print(time.perf_counter() - start, 0)
"""
OURS = """
import json, sys, time, automatch
first = sys.argv[1] + ".first.keys.json"
with open(first, "w") as file:
    json.dump({"keys": [["a.weight", [2, 3], "float32"]]}, file)
automatch.diagnose(first, first)
start = time.perf_counter()
found = automatch.diagnose(checkpoint=sys.argv[1], model=sys.argv[2])
print(time.perf_counter() - start, len(found.matches))
"""

CHECKPOINT_WORDS = {
    "embedding": "tok_embeddings", "layers": "layers", "attention": "attention", "query": "wq", "key": "wk",
    "value": "wv", "output": "wo", "norm": "attention_norm", "experts": "feed_forward.experts",
    "router": "feed_forward.gate", "gate": "w1", "down": "w2", "up": "w3",
}  # fmt: skip
MODEL_WORDS = {
    "embedding": "model.embed_tokens", "layers": "model.layers", "attention": "self_attn", "query": "q_proj",
    "key": "k_proj", "value": "v_proj", "output": "o_proj", "norm": "input_layernorm", "experts": "mlp.experts",
    "router": "mlp.router", "gate": "gate_proj", "down": "down_proj", "up": "up_proj",
}  # fmt: skip


def name_keys(count: int, words: dict[str, str], stacked: bool = False) -> Iterator[tuple[str, list[int], str]]:
    """Names about `count` keys of a mixture-of-experts transformer in one library's words; or its experts in stacks."""
    layers = max(1, round(count / (6 + 3 * EXPERTS)))
    yield f"{words['embedding']}.weight", [32000, 512], "bfloat16"
    for i in range(layers):
        layer = f"{words['layers']}.{i}"
        attention = f"{layer}.{words['attention']}"
        for part, shape in (("query", [512, 512]), ("key", [128, 512]), ("value", [128, 512]), ("output", [512, 512])):
            yield f"{attention}.{words[part]}.weight", shape, "bfloat16"
        yield f"{layer}.{words['norm']}.weight", [512], "bfloat16"
        yield f"{layer}.{words['router']}.weight", [EXPERTS, 512], "bfloat16"
        if stacked:
            yield f"{layer}.{words['experts']}.gate_up_proj", [EXPERTS, 512, 512], "bfloat16"
            yield f"{layer}.{words['experts']}.down_proj", [EXPERTS, 512, 256], "bfloat16"
        for expert in range(0 if stacked else EXPERTS):
            for part, shape in (("gate", [256, 512]), ("down", [512, 256]), ("up", [256, 512])):
                yield f"{layer}.{words['experts']}.{expert}.{words[part]}.weight", shape, "bfloat16"


def measure(code: str, files: list[str]) -> tuple[float, int, int]:
    """Runs code on the files in a process of its own.

    Returns:
        Its seconds, its count of matches, its peak memory in bytes.
    """
    done = run_python("-c", code + REPORT_PEAK, *files)
    if done.returncode:
        raise RuntimeError(done.stderr)
    seconds, matches, peak = done.stdout.split()
    return float(seconds), int(matches), int(peak)


def main() -> None:
    """Measures each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("keys", nargs="*", type=int, default=[10_000, 100_000], help="keys a side")
    columns = f"{'floor':>9s} {'ours':>9s} {'ratio':>6s}"
    print(f"{'checkpoint':>11s} {'model':>11s} {'matches':>8s} | {columns} | {columns}")
    sizes = parser.parse_args().keys
    for count, stacked in product(sizes, (False, True)):
        with tempfile.TemporaryDirectory() as folder:
            files = []
            sides = (("checkpoint", CHECKPOINT_WORDS, False), ("model", MODEL_WORDS, stacked))
            keys = [list(name_keys(count, words, stacks)) for _, words, stacks in sides]
            for (name, _, _), own in zip(sides, keys, strict=True):
                path = Path(folder, f"{name}.keys.json")
                path.write_text(json.dumps({"keys": own}), encoding="utf-8")
                files.append(str(path))
            floor_time, _, floor_peak = measure(FLOOR, files)
            our_time, matches, our_peak = measure(OURS, files)
        print(
            f"{len(keys[0]):11,d} {len(keys[1]):11,d} {matches:8,d}"
            f" | {floor_time * 1000:6.0f} ms {our_time:7.2f} s {our_time / floor_time:6.0f}"
            f" | {floor_peak / 2**20:6.0f} MB {our_peak / 2**20:6.0f} MB {our_peak / floor_peak:6.1f}"
        )


if __name__ == "__main__":
    main()
