"""Comparisons made by hand: what is said must not change when the engine learns."""

from automatch.diagnosing.comparison import StrictLoad
from automatch.matching.assignment import Assignment, Match, Mismatch
from automatch.reporting.diagnosis import Diagnosis
from automatch.rules.replay import replay
from automatch.rules.rule import Rule
from automatch.rules.rule_set import RuleSet
from automatch.spec import StateDictSpec, TensorSpec


def side(name: str, *tensors: tuple[str, tuple[int, ...]], **fields) -> StateDictSpec:
    return StateDictSpec(name, tuple(TensorSpec(key, shape) for key, shape in tensors), **fields)


def make(
    checkpoint: StateDictSpec, model: StateDictSpec, assignment: Assignment, rules: RuleSet, **fields
) -> Diagnosis:
    proof = replay(rules, assignment.matches, checkpoint.keys, model.keys, assignment.mismatched)
    hits = tuple(
        Rule(rule.pattern, rule.replacement, rule.op, count, rule.part, rule.by, rule.dim)
        for rule, count in zip(rules, proof.hits, strict=True)
    )
    return Diagnosis(checkpoint, model, assignment, RuleSet(hits), proof, **fields)


DEPTHS = (2, 3)
LEAVES = {"weight": (8,), "bias": (8,), "running_mean": (8,), "running_var": (8,)}


def densenet() -> Diagnosis:
    """Complete by one rule, the counters of the norms harmlessly missing."""
    pairs = [
        (f"features.block{b}.layer{layer}.norm.{n}.{leaf}", f"features.block{b}.layer{layer}.norm{n}.{leaf}", shape)
        for b, depth in enumerate(DEPTHS, 1)
        for layer in range(1, depth + 1)
        for n in (1, 2)
        for leaf, shape in LEAVES.items()
    ]
    pairs = [("features.conv0.weight", "features.conv0.weight", (8, 3, 7, 7)), *pairs]
    counters = [
        (f"features.block{b}.layer{layer}.norm{n}.num_batches_tracked", ())
        for b, depth in enumerate(DEPTHS, 1)
        for layer in range(1, depth + 1)
        for n in (1, 2)
    ]
    matches = tuple(
        Match(
            (new,),
            (old,),
            confidence=0.97 if "norm.2" in old else 0.99,
            reason=f"the only tensor of shape {list(shape)} in its block; names agree",
        )
        for old, new, shape in pairs
    )
    absent = tuple(key for key, _ in counters)
    why = "counts batches; torch sets it to 0 for old checkpoints"
    return make(
        side("densenet-old.pth", *((old, shape) for old, _, shape in pairs), origin="torch zip, pickle read as data"),
        side("DenseNet", *((new, shape) for _, new, shape in pairs), *counters, origin="live module"),
        Assignment(matches, missing_keys=absent, harmless=dict.fromkeys(absent, why)),
        RuleSet((Rule(r"(?P<a>features\.block\d+\.layer\d+\.norm)\.(?P<b>.+)", "{a}{b}"),)),
        verdict="41 of 51 keys mapped by 1 rule; modules have other names",
        strict_load=StrictLoad(True, "proven by load_state_dict(strict=True, assign=True) on a copy", absent),
        sources=("old checkpoints/densenet.pth", "net.py:build"),
    )


def mixed() -> Diagnosis:
    """Something of everything: joined tensors, doubt, another head, keys left over, hostile names."""
    checkpoint = side(
        "ckpt/model.safetensors.index.json",
        *((f"layers.{i}.attn.{part}.weight", (4, 4)) for i in (0, 1, 2, 4) for part in "qkv"),
        *((f"layers.{i}.a.weight", (4,)) for i in (0, 1)),
        *((f"layers.{i}.b.weight", (4,)) for i in (0, 1)),
        ("head.weight", (1000, 4)),
        ("optimizer.step", ()),
        ("\x1b[31mred\u202e|`x`", (1,)),
        ("freqs", (2,)),
        origin="index and 2 shards, headers only",
        at="state_dict",
        notes=("`state_dict` (21 tensors) fits the model best; also there: `ema` (21 tensors) (choose with --at)",),
    )
    model = side(
        "Transformer",
        *((f"blocks.{i}.attn.qkv.weight", (12, 4)) for i in (0, 1, 2, 4)),
        *((f"blocks.{i}.{name}.weight", (4,)) for i in (0, 1) for name in ("norm1", "norm2")),
        ("head.weight", (10, 4)),
        *((f"adapter.{i}.weight", (2, 2)) for i in range(3)),
        origin="built on the meta device by net:build",
    )
    fused = tuple(
        Match(
            (f"blocks.{i}.attn.qkv.weight",),
            tuple(f"layers.{i}.attn.{part}.weight" for part in "qkv"),
            op="concat",
            dim=0,
            confidence=0.98,
            reason="three tensors of the block give the rows of one",
        )
        for i in (0, 1, 2, 4)
    )
    norms = tuple(
        Match(
            (f"blocks.{i}.{new}.weight",),
            (f"layers.{i}.{old}.weight",),
            confidence=0.4,
            ambiguous=True,
            alternatives=(f"layers.{i}.{other}.weight",),
            reason="same shape, and names do not tell",
        )
        for i in (0, 1)
        for new, old, other in (("norm1", "a", "b"), ("norm2", "b", "a"))
    )
    adapters = tuple(f"adapter.{i}.weight" for i in range(3))
    return make(
        checkpoint,
        model,
        Assignment(
            (*fused, *norms),
            missing_keys=("head.weight", *adapters),
            unexpected_keys=("head.weight", "optimizer.step", "\x1b[31mred\u202e|`x`", "freqs"),
            mismatched=(Mismatch("head.weight", "head.weight", (1000, 4), (10, 4)),),
            harmless={"freqs": "the model computes it anew"},
            notes=("the order of the keys was not trusted: they are sorted by the alphabet",),
        ),
        RuleSet(
            (
                Rule(
                    r"layers\.(?P<i>\d+)\.attn\.(?P<part>q|k|v)\.weight",
                    "blocks.{i}.attn.qkv.weight",
                    op="concat",
                    part="part",
                    dim=0,
                ),
                Rule(r"layers\.(?P<i>\d+)\.a\.weight", "blocks.{i}.norm1.weight"),
                Rule(r"layers\.(?P<i>\d+)\.b\.weight", "blocks.{i}.norm2.weight"),
            )
        ),
        verdict="4 of 12 keys mapped; 4 ambiguous, 3 missing, 2 unexpected, 1 of another shape",
    )


def unrelated() -> Diagnosis:
    """Nothing matches."""
    return make(
        side("a.pt", ("x.weight", (3, 3)), origin="torch zip"),
        side("Net", ("y.weight", (5, 5)), origin="live module"),
        Assignment(missing_keys=("y.weight",), unexpected_keys=("x.weight",)),
        RuleSet(),
        verdict="not the same architecture: 0 % of the shapes have a counterpart",
    )


CASES = {"densenet": densenet, "mixed": mixed, "unrelated": unrelated}
