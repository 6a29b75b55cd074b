"""Short error texts in the forms that people paste, with what each says.

Written for these tests in the wording of the libraries; `texts` holds one `Said` each.
"""

from __future__ import annotations

from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Said:
    name: str
    text: str
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[tuple[str, Shape, Shape], ...] = ()
    truncated: bool = False
    class_name: str | None = None


HEAD = "RuntimeError: Error(s) in loading state_dict for Net:\n\t"
TEMPLATE = "    raise RuntimeError('Error(s) in loading state_dict for {}:\\n\\t{}'.format(\n"

TEXTS = (
    Said(
        "plain",
        HEAD + 'Missing key(s) in state_dict: "a.weight", "a.bias". \n\tUnexpected key(s) in state_dict: "b.weight". ',
        ("a.weight", "a.bias"),
        ("b.weight",),
        class_name="Net",
    ),
    Said(
        "the template in the traceback is no class",
        "Traceback (most recent call last):\n" + TEMPLATE + HEAD + 'Missing key(s) in state_dict: "a.weight". ',
        ("a.weight",),
        class_name="Net",
    ),
    Said(
        "source lines of torch in the traceback",
        "    'Unexpected key(s) in state_dict: {}. '.format(\n        ', '.join('\"{}\"'.format(k) for k in "
        "unexpected)))\n"
        'RuntimeError: Error(s) in loading state_dict for Net: Unexpected key(s) in state_dict: "x.y".',
        unexpected=("x.y",),
        class_name="Net",
    ),
    Said(
        "odd keys: empty, a slash, no dot, digits",
        'Unexpected key(s) in state_dict: "", "conv1/bn.weight", "W", "29.weight". ',
        unexpected=("", "conv1/bn.weight", "W", "29.weight"),
    ),
    Said(
        "unexpected before missing, one line",
        'Unexpected key(s) in state_dict: "b". Missing key(s) in state_dict: "a". ',
        ("a",),
        ("b",),
    ),
    Said(
        "quoted mail, a comment, a box",
        '> # Missing key(s) in state_dict: "a.b",\n> # "c.d". \n│ Unexpected key(s) in state_dict: "e.f", │\n│ '
        '"g.h". │',
        ("a.b", "c.d"),
        ("e.f", "g.h"),
    ),
    Said(
        "colours and log prefixes",
        '\x1b[31m2024-05-01 10:11:12,123 - trainer - ERROR - Missing key(s) in state_dict: \x1b[0m"a.b", \n'
        '2024-05-01 10:11:12.123 | ERROR | stderr | "c.d". ',
        ("a.b", "c.d"),
    ),
    Said(
        "ranks interleave",
        '[rank0]: Missing key(s) in state_dict: "a.b", \n[rank1]: Missing key(s) in state_dict: "a.b", \n'
        '[rank0]: "c.d". \n[rank1]: "c.d". ',
        ("a.b", "c.d"),
    ),
    Said(
        "a terminal wraps inside keys and inside the sentence",
        'Missing key(s) in\n state_dict: "backbone.layers.0.attention.que\n    ry.weight", "a.b". ',
        ("backbone.layers.0.attention.query.weight", "a.b"),
    ),
    Said("typographic quotes", "Missing key(s) in state_dict: “a.b”, „c.d”. ", ("a.b", "c.d")),
    Said(
        "curly singles",
        "Unexpected key(s) in state_dict: \u2018a.b\u2019, \u2018c.d\u2019. ",
        unexpected=("a.b", "c.d"),
    ),
    Said(
        "escaped as JSON",
        '{"message": "Error(s) in loading state_dict for Net:\\n\\tMissing key(s) in state_dict: \\"a.b\\", '
        '\\"c\\". \\n"}',
        ("a.b", "c"),
        class_name="Net",
    ),
    Said(
        "a quotation in quotes",
        'it says "Unexpected key(s) in state_dict: "model", "epoch"".',
        unexpected=("model", "epoch"),
    ),
    Said("bold inside a key", 'Missing key(s) in state_dict: "a.**to_q**.weight". ', ("a.to_q.weight",)),
    Said("a code span on each line", '`Missing key(s) in state_dict: "a.b",`\n`"c.d".`', ("a.b", "c.d")),
    Said("HTML", "<pre>Missing key(s) in state_dict: &quot;a.b&quot;, &quot;c.d&quot;. </pre>", ("a.b", "c.d")),
    Said("text right behind the list", 'Missing key(s) in state_dict: "a.b". How can I solve "this"?', ("a.b",)),
    Said("no full stop", 'Unexpected key(s) in state_dict: "a.b", "c.d"', unexpected=("a.b", "c.d")),
    Said("no quotes", "WRN Missing key(s) in state_dict: a.weight, a.bias\nINFO done", ("a.weight", "a.bias")),
    Said("cut at a comma", 'Missing key(s) in state_dict: "a.b", "c.d",', ("a.b", "c.d"), truncated=True),
    Said("cut inside a key", 'Missing key(s) in state_dict: "a.b", "c.wei', ("a.b",), truncated=True),
    Said(
        "cut inside a key, prose behind",
        'Missing key(s): see\nMissing key(s) in state_dict: "a.b", "c.wei\n\nHelp "me"!',
        ("a.b",),
        truncated=True,
    ),
    Said(
        "the missing keys just end", 'Missing key(s) in state_dict: "a.b", "c.d"\n```', ("a.b", "c.d"), truncated=True
    ),
    Said(
        "dots by hand",
        'Missing key(s) in state_dict: "a.b", ... \n\tUnexpected key(s) in state_dict: "c.d"....',
        ("a.b",),
        ("c.d",),
        truncated=True,
    ),
    Said("dots in the middle", 'Missing key(s) in state_dict: "a.b", ..., "y.z". ', ("a.b", "y.z"), truncated=True),
    Said("dots inside the quotes", 'Missing key(s) in state_dict: "a.b", "c.d...". ', ("a.b",), truncated=True),
    Said("dots in brackets", 'Unexpected key(s) in state_dict: "a.b", [...]', unexpected=("a.b",), truncated=True),
    Said(
        "the beginning is lost",
        'ight", "a.b", "c.d". \n\tUnexpected key(s) in state_dict: "e.f". ',
        ("a.b", "c.d"),
        ("e.f",),
        truncated=True,
    ),
    Said(
        "sizes, the checkpoint first",
        HEAD + "size mismatch for fc.weight: copying a param with shape torch.Size([1000, 8]) from checkpoint, "
        "the shape in current model is torch.Size([10, 8]).\n\tsize mismatch for s: copying a param with shape "
        "torch.Size([]) from checkpoint, the shape in current model is torch.Size([1]).",
        mismatched=(("fc.weight", (1000, 8), (10, 8)), ("s", (), (1,))),
        class_name="Net",
    ),
    Said(
        "sizes, reworded, several on a line, broken",
        "size mismatch for a.b: copying a param with shape torch.Size([4, 2]) from checkpoint,\n the shape in the "
        "current "
        "model is torch.Size([4, 3]).      size mismatch for c.d: copying a param of torch.Size([5]) from checkpoint, "
        "where the shape is torch.Size([6]) in current model.",
        mismatched=(("a.b", (4, 2), (4, 3)), ("c.d", (5,), (6,))),
    ),
    Said(
        "sizes of torch 0.3, the model first, only one",
        "RuntimeError: While copying the parameter named head.weight, whose dimensions in the model are "
        "torch.Size([64, 3]) and whose dimensions in the checkpoint are torch.Size([256, 3]).",
        mismatched=(("head.weight", (256, 3), (64, 3)),),
        truncated=True,
    ),
    Said(
        "sizes of torch 0.4.0, the model first, all of them",
        HEAD + 'While copying the parameter named "a", whose dimensions in the model are torch.Size([1]) and '
        "whose dimensions in the checkpoint are torch.Size([2]).",
        mismatched=(("a", (2,), (1,)),),
        class_name="Net",
    ),
    Said(
        "equal sizes are no mismatch",
        HEAD + 'While copying the parameter named "a", whose dimensions in the model are torch.Size([2]) and whose '
        "dimensions "
        "in the checkpoint are torch.Size([2]), an exception occurred : ('Cannot copy out of meta tensor; no data!',).",
        class_name="Net",
    ),
    Said(
        "cut inside a size",
        "size mismatch for a.b: copying a param with shape torch.Size([4, 2]) from checkpoint, the shape in current "
        "model is "
        "torch.Size([4, 3]).\n\tsize mismatch for c.d: copying a param with shape torch.Size([5]) from ch",
        mismatched=(("a.b", (4, 2), (4, 3)),),
        truncated=True,
    ),
    Said(
        "torch 0.3: the first key only",
        "KeyError: 'unexpected key \"module.a.weight\" in state_dict'",
        unexpected=("module.a.weight",),
        truncated=True,
    ),
    Said(
        "torch 0.3: a set",
        "KeyError: 'missing keys in state_dict: \"{\\'a.weight\\', \\'a.bias\\'}\"'",
        ("a.weight", "a.bias"),
    ),
    Said(
        "mmengine",
        "2024-01-01 00:00:00,001 - mmseg - WARNING - unexpected key in source state_dict: norm.weight, head.bias\n\n"
        "missing keys in source state_dict: a.conv.bias, b.conv.bias\n",
        ("a.conv.bias", "b.conv.bias"),
        ("norm.weight", "head.bias"),
    ),
    Said(
        "mmengine, cut",
        "unexpected key in source state_dict: norm.weight, head.wei",
        unexpected=("norm.weight",),
        truncated=True,
    ),
    Said("mmengine, quoted as a block", 'missing keys in source state_dict: "a.b, c.d"', ("a.b", "c.d")),
    Said(
        "fvcore",
        "WARNING [03/17 17:31:59 fvcore.common.checkpoint]: Some model parameters or buffers are not found in the "
        "checkpoint:\n"
        "\x1b[34manchors.cell.{0, 1}\x1b[0m\n\x1b[34mfpn.{bias, weight}\x1b[0m\npixel_mean\n"
        "WARNING [03/17 17:31:59 fvcore.common.checkpoint]: The checkpoint state_dict contains keys that are not "
        "used by the model:\n"
        "  \x1b[35mfc.{bias, weight}\x1b[0m\n  stem.bias\n",
        ("anchors.cell.0", "anchors.cell.1", "fpn.bias", "fpn.weight", "pixel_mean"),
        ("fc.bias", "fc.weight", "stem.bias"),
    ),
    Said(
        "fvcore, old words, cut by hand and by the end",
        "Some model parameters are not in the checkpoint:\n  a.{bias, weight}\n.\n.\n.\n  z.weight\n"
        "The checkpoint contains parameters not used by the model:\n  b.weight\n  c.{bias, wei",
        ("a.bias", "a.weight", "z.weight"),
        ("b.weight",),
        truncated=True,
    ),
    Said(
        "fvcore, the first heading is lost",
        "neck.0.weight\nneck.1.weight\nThe checkpoint state_dict contains keys that are not "
        "used by the model:\n  fc.weight\n",
        ("neck.0.weight", "neck.1.weight"),
        ("fc.weight",),
        truncated=True,
    ),
    Said(
        "fvcore, a skipped shape",
        "Skip loading parameter 'head.weight' to the model due to incompatible shapes: (81, 1024) in the checkpoint "
        "but (3, 1024) "
        "in the model! You might want to double check if this is expected.",
        mismatched=(("head.weight", (81, 1024), (3, 1024)),),
    ),
    Said(
        "transformers 4",
        "Some weights of the model checkpoint at org/name were not used when initializing BertModel: ['cls.bias', "
        "'cls.weight']\n"
        "- This IS expected if you are initializing BertModel from the checkpoint of a model trained on another task\n"
        "Some weights of BertModel were not initialized from the model checkpoint at org/name and are newly "
        "initialized: "
        "['pooler.weight']\nYou should probably TRAIN this model.",
        ("pooler.weight",),
        ("cls.bias", "cls.weight"),
        class_name="BertModel",
    ),
    Said(
        "transformers 4, shapes",
        "Some weights of ViT were not initialized from the model checkpoint at org/name and are newly initialized "
        "because the shapes "
        "did not match:\n- classifier.weight: found shape torch.Size([1000, 8]) in the checkpoint and "
        "torch.Size([10, 8]) in the "
        "model instantiated\nYou should probably TRAIN this model.",
        mismatched=(("classifier.weight", (1000, 8), (10, 8)),),
    ),
    Said(
        "transformers, a list without its end",
        "Weights of Net not initialized from pretrained model: ['a.weight', 'b.wei",
        ("a.weight",),
        truncated=True,
        class_name="Net",
    ),
    Said(
        "transformers 5",
        "GPT2Model LOAD REPORT from: org/name\nKey                   | Status     | "
        "Details\n----------------------+------------+----\n"
        "h.{0, 1}.attn.bias    | UNEXPECTED |\nln.weight             | MISSING    |\n"
        "wte.weight            | MISMATCH   | Reinit due to size mismatch - ckpt: torch.Size([9, 4]) vs "
        "model:torch.Size([8, 4])\n",
        ("ln.weight",),
        ("h.0.attn.bias", "h.1.attn.bias"),
        (("wte.weight", (9, 4), (8, 4)),),
        class_name="GPT2Model",
    ),
    Said(
        "transformers 5, a merged range",
        "h.{0...11}.bias | UNEXPECTED |\n",
        unexpected=tuple(f"h.{i}.bias" for i in range(12)),
        truncated=True,
    ),
    Said(
        "diffusers",
        "ValueError: Cannot load <class 'diffusers.models.unet.UNet'> from p because the following keys are "
        "missing: \n a.weight, "
        "a.bias. \n Please make sure to pass `low_cpu_mem_usage=False`",
        ("a.weight", "a.bias"),
        class_name="UNet",
    ),
    Said(
        "diffusers, a shape, the model first",
        "Cannot load p because conv_in.weight expected shape torch.Size([320, 4, 3, 3]), "
        "but got torch.Size([320, 9, 3, 3]).",
        mismatched=(("conv_in.weight", (320, 9, 3, 3), (320, 4, 3, 3)),),
        truncated=True,
    ),
    Said(
        "what load_state_dict returns",
        "_IncompatibleKeys(missing_keys=['a.b'], unexpected_keys=['c.d', 'e'])",
        ("a.b",),
        ("c.d", "e"),
    ),
    Said("named lists", "unet missing: ['a.b']\nunet unexpected: ['c.d']", ("a.b",), ("c.d",)),
    Said(
        "ComfyUI",
        "lora key not loaded: x.lora_up.weight\nlora key not loaded y.lora_up.weight",
        unexpected=("x.lora_up.weight", "y.lora_up.weight"),
    ),
    Said(
        "vLLM",
        "  File \"loader.py\", line 1\nKeyError: 'model.layers.0.mlp.weight_scale'",
        unexpected=("model.layers.0.mlp.weight_scale",),
        truncated=True,
    ),
    Said(
        "FSDP lists all keys of the file",
        "AssertionError: FSDP assumes a.b is in the state_dict but the state_dict only has odict_keys(['c.d', 'e.f'])",
        ("a.b",),
        truncated=True,
    ),
    Said(
        "a line for each key",
        "Unexpected key a.0.weight in state_dict with size torch.Size([1])\nUnexpected key a.0.bias in state_dict "
        "with size "
        "torch.Size([1])\nMissing key b.weight in state_dict\n",
        ("b.weight",),
        ("a.0.weight", "a.0.bias"),
    ),
    Said(
        "running statistics of an InstanceNorm",
        'Unexpected running stats buffer(s) "a.running_mean" and "a.running_var" for InstanceNorm2d with '
        "track_running_stats=False.",
        unexpected=("a.running_mean", "a.running_var"),
    ),
)
