"""What a person sees, text by text. After a change that is meant: `pytest tests/reporting --overwrite-golden`."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import torch

import automatch
from automatch.reporting.formats import FORMATS, json_text, markdown, table
from automatch.reporting.printable import printable
from automatch.reporting.report import report
from automatch.reporting.style import Style
from tests.reporting import cases
from tests.reporting.cases import CASES

GOLDEN = Path(__file__).parent / "golden"
DRAWN = {
    "txt": (table, Style()),
    "full.txt": (table, Style(full=True)),
    "narrow.txt": (table, Style(width=80)),
    "colour.txt": (table, Style(colour=True)),
    "md": (markdown, Style()),
    "json": (json_text, Style()),
}


@pytest.mark.parametrize("ending", DRAWN)
@pytest.mark.parametrize("case", CASES)
def test_golden(case, ending, request) -> None:
    form, style = DRAWN[ending]
    text = form.render(CASES[case](), style) + "\n"
    path = GOLDEN / f"{case}.{ending}"
    if request.config.getoption("--overwrite-golden"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def keys_shown(sections) -> tuple[Counter, Counter]:
    """The keys in the tables of a full report, of the checkpoint and of the model."""
    checkpoint, model = Counter(), Counter()
    for section in sections:
        for row in section.rows:
            cells = dict(zip(section.columns, row, strict=True))
            if "checkpoint => model" in cells:
                left, _, right = cells["checkpoint => model"].partition(" => ")
                checkpoint.update(left.split(" + "))
                model.update((right or left).split(" + "))
            elif "key" in cells:
                what, _, key = cells["key"].partition(": ")
                (model if what == "missing" else checkpoint)[key] += 1
            elif "side" not in cells:
                checkpoint.update([cells["checkpoint"]] if "checkpoint" in cells else [])
                model.update([cells["model"]] if "model" in cells else [])
    return checkpoint, model


@pytest.mark.parametrize("case", CASES)
def test_the_full_report_shows_every_key_once(case) -> None:
    found = CASES[case]()
    checkpoint, model = keys_shown(report(found, full=True))
    assert checkpoint == Counter(map(printable, found.checkpoint.keys))
    assert model == Counter(map(printable, found.model.keys))
    text = table.render(found, Style(full=True))
    assert all(key in text for key in [*checkpoint, *model])


@pytest.mark.parametrize("case", CASES)
def test_the_json_holds_every_key(case) -> None:
    found = CASES[case]()
    read = json.loads(json_text.render(found, Style()))
    served = Counter(key for match in read["matches"] for key in match["model_keys"])
    assert served + Counter(read["missing_keys"]) == Counter(found.model.keys)
    given = {key for match in read["matches"] for key in match["checkpoint_keys"]}
    assert Counter(given) + Counter(read["unexpected_keys"]) == Counter(found.checkpoint.keys)


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.NAME)
def test_nothing_in_a_key_reaches_the_terminal(form) -> None:
    text = form.render(CASES["mixed"](), Style(full=True))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)


def test_markdown_tables_hold_together() -> None:
    """A bar inside a key must not open a cell."""
    rows = [line for line in markdown.render(CASES["mixed"](), Style(full=True)).splitlines() if line[:1] == "|"]
    tables: list[list[int]] = []
    for line in rows:
        cells = len(re.findall(r"(?<!\\)\|", line))
        if "---" not in line and tables and tables[-1][0] != cells:
            tables.append([])
        (tables or tables.append([]) or tables)[-1].append(cells)
    assert all(len(set(widths)) == 1 for widths in tables)


def test_a_long_report_is_cut_and_says_so() -> None:
    keys = [(f"{chr(97 + i // 26)}{chr(97 + i % 26)}.weight", (i + 1,)) for i in range(100)]
    found = cases.make(
        cases.side("a", ("x", (1,))),
        cases.side("b", *keys),
        cases.Assignment(missing_keys=tuple(key for key, _ in keys), unexpected_keys=("x",)),
        cases.RuleSet(),
        verdict="",
    )
    text = table.render(found, Style())
    assert "60 more lines (--full)" in text
    assert all(key in table.render(found, Style(full=True)) for key, _ in keys)


def test_a_terminal_cuts_the_evidence_before_any_key() -> None:
    whole, cut = (table.render(CASES["densenet"](), Style(width=width)).split("\nrules:")[0] for width in (None, 170))
    assert "…" not in whole and "…" in cut
    assert max(map(len, cut.splitlines())) == 170
    assert all(line.split("  the only")[0] in whole for line in cut.splitlines() if "rename" in line)


def test_ten_thousand_keys_are_a_few_lines() -> None:
    pairs = [
        (f"h.{i}.{part}.{leaf}", f"layers.{i}.{part}.{leaf}", (4,))
        for i in range(500)
        for part in ("ln_1", "ln_2", "attn.q", "attn.k", "attn.v", "attn.o", "mlp.up", "mlp.down", "mlp.gate", "extra")
        for leaf in ("weight", "bias")
    ]
    found = cases.make(
        cases.side("a", *((old, shape) for old, _, shape in pairs)),
        cases.side("b", *((new, shape) for _, new, shape in pairs)),
        cases.Assignment(tuple(cases.Match((new,), (old,)) for old, new, _ in pairs)),
        cases.RuleSet((cases.Rule(r"h\.(?P<rest>.+)", "layers.{rest}"),)),
        verdict="",
    )
    text = table.render(found, Style())
    assert "{h => layers}.{0..499}.ln_{1..2}.{weight,bias}" in text
    assert len(text.splitlines()) < 40


def test_the_digits_of_a_dtype_are_no_number() -> None:
    """What a family's members say of dtypes is not said with N."""
    casts = (torch.float16, torch.bfloat16, torch.float32)
    layers = {f"h.{i}.w": torch.rand(4, 3 + i, dtype=torch.float64) for i in range(3)}
    converted = {f"l.{key[2:]}": value.T.to(cast) for (key, value), cast in zip(layers.items(), casts, strict=True)}
    text = str(automatch.learn(layers, converted))
    assert "rounded to float16 / " in text and "floatN" not in text


def test_keys_that_are_renamed_along_are_said() -> None:
    """A rule for all layers renames those that the model does not have: it is not said that nothing else moves."""
    deep = {f"layers.{i}.lin.weight": torch.zeros(8, 8 + i) for i in range(6)}
    same = {f"model.layers.{i}.lin.weight": torch.zeros(8, 8 + i) for i in range(6)}
    shallow = {key: tensor for key, tensor in same.items() if "layers.5" not in key}
    assert "nothing else moves" in str(automatch.diagnose(deep, same))
    text = str(automatch.diagnose(deep, shallow))
    assert "1 left-over key renamed along, onto no key of the model" in text and "nothing else moves" not in text
