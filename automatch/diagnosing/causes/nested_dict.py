"""The whole training checkpoint was given where its state_dict was wanted."""

from __future__ import annotations

import re

from automatch.diagnosing.evidence import Evidence, Finding
from automatch.diagnosing.naming import count

# Words of dotless keys; parameters of a model without a dot (`cls_token`, `pos_embed`) have none of them.
_CONTAINER_WORDS = re.compile(
    r"model|models|net|network|netg|netd|weights|params|ema|generator|discriminator|gen|dis|g|d|module|teacher"
    r"|student|encoder|decoder|actor|critic|policy|backbone|modelstate"
)
_RECORD_WORDS = re.compile(
    r"epoch|epochs|epochnum|optimizer|optimizers|optim|opt|optimizerstatedict|scheduler|schedulers|sched|iter"
    r"|iters|iteration|iterations|it|step|steps|best|acc|acc1|prec1|accuracy|loss|losses|metric|metrics|score"
    r"|fitness|results|train|val|test|config|cfg|configs|args|arch|hparams|hyper|hyperparameters|callbacks"
    r"|callback|loops|version|amp|scaler|meta|hub|updates|git|date|license|docs|author|vocab|vocabulary"
    r"|settings|stats|rng|random|seed|lr|history|trainer|wandb|run|classes|tokenizer|dataset|samples|size"
    r"|lightning|scaling|heuristics|names|shapes|shared|checkpoint|time|timestamp|tokens|plugin|class|idx"
    r"|characters|audio|dims|transforms"
)
_RARELY_A_LAYER = re.compile(r"epochs?|iteration|optimizer|optim|args|config")
_OPTIMIZER = frozenset({"state", "param_groups"})


def check(evidence: Evidence) -> Finding | None:
    """Whether the unexpected keys are those of a training checkpoint, not of a state_dict."""
    if "container-wanted" in evidence.hints and not evidence.listed:
        return Finding(
            "nested-dict",
            0.8,
            "a script looked for a dict inside the checkpoint that is not there: the file is laid out otherwise",
            "look which keys the file has at its top (`automatch keys FILE`) and hand over the dict that holds the "
            "tensors",
        )
    top = [k for k in evidence.unexpected_keys if _is_record(k) or _is_container(k)]
    if not top or len(top) < 0.5 * len(evidence.unexpected_keys) or set(evidence.unexpected_keys) <= _OPTIMIZER:
        return None
    inside = [k for k in top if _is_container(k)]
    if len(top) == 1 and not inside and not any(map(_RARELY_A_LAYER.fullmatch, _words(top[0]))):
        return None
    where = f"under `{inside[0]}`" if inside else "deeper inside"
    return Finding(
        "nested-dict",
        0.95 if inside and len(top) > 1 else 0.85,
        f"the whole training checkpoint was loaded, not its state_dict: {count(len(top), 'unexpected key')} such as "
        f"`{top[0]}`; the tensors lie {where}",
        f"load the dict inside: `model.load_state_dict(checkpoint[{inside[0]!r}])`"
        if inside
        else "print `checkpoint.keys()` and load the dict inside that holds the tensors",
    )


def _words(key: str) -> list[str]:
    return re.split(r"[_\-]", key.lower()) if "." not in key else []


def _is_container(key: str) -> bool:
    if key == "state_dict":
        return True
    words = [w for w in _words(key) if w != "best"]
    return any(map(_CONTAINER_WORDS.fullmatch, words)) and not any(map(_RECORD_WORDS.fullmatch, words))


def _is_record(key: str) -> bool:
    return any(map(_RECORD_WORDS.fullmatch, _words(key))) and not _is_container(key)
