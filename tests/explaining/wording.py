"""The words of torch around given keys."""

from __future__ import annotations

from collections.abc import Sequence

Shape = Sequence[int]


def torch_text(
    missing: Sequence[str] = (),
    unexpected: Sequence[str] = (),
    sizes: Sequence[tuple[str, Shape, Shape]] = (),
    cut: bool = False,
) -> str:
    """The text that torch raises; `cut` takes its end away."""
    lines = ["RuntimeError: Error(s) in loading state_dict for Net:"]
    for title, keys in (("Missing", missing), ("Unexpected", unexpected)):
        if keys:
            lines.append(f"{title} key(s) in state_dict: " + ", ".join(f'"{k}"' for k in keys) + ". ")
    for key, checkpoint, model in sizes:
        lines.append(
            f"size mismatch for {key}: copying a param with shape torch.Size({list(checkpoint)}) from checkpoint, "
            f"the shape in current model is torch.Size({list(model)})."
        )
    text = "\n\t".join(lines)
    return text[:-9] if cut else text


def each(names: str, *templates: str) -> list[str]:
    """The templates with `{}` filled by each name."""
    return [template.format(name) for name in names.split() for template in templates]


BN = ("{}.weight", "{}.bias", "{}.running_mean", "{}.running_var")
LINEAR = ("{}.weight", "{}.bias")
RESNET = [
    "conv1.weight",
    *each("bn1 layer1.0.bn1 layer1.1.bn1", *BN),
    *each("layer1.0.conv1 layer1.1.conv1", "{}.weight"),
    *each("fc", *LINEAR),
]
BERT = each(
    "0 1 2",
    "encoder.layer.{}.attention.self.query.weight",
    "encoder.layer.{}.output.dense.weight",
    "encoder.layer.{}.output.dense.bias",
)
LLAMA = each("0 1", "model.layers.{}.self_attn.q_proj.weight", "model.layers.{}.mlp.up_proj.weight")


def at(prefix: str, keys: Sequence[str]) -> list[str]:
    return [prefix + key for key in keys]
