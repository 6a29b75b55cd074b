"""Reports in the style of real ones, each with the cause that a maintainer would name."""

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


REPORTS: tuple[tuple[str, str, str], ...] = (
    # name, text, cause
    ("DataParallel file", torch_text(RESNET, at("module.", RESNET)), "prefix-module"),
    ("DataParallel model", torch_text(at("module.", RESNET), RESNET), "prefix-module"),
    ("DataParallel, lists cut", torch_text(RESNET[:3], at("module.", RESNET[:2]), cut=True), "prefix-module"),
    (
        "DataParallel around the features",
        torch_text(
            ["features.0.weight", "features.2.weight"], ["features.module.0.weight", "features.module.2.weight"]
        ),
        "prefix-module",
    ),
    (
        "DataParallel, first key of torch 0.3",
        "KeyError: 'unexpected key \"module.cnn.conv0.weight\" in state_dict'",
        "prefix-module",
    ),
    (
        "DataParallel, counters in one list only",
        torch_text(RESNET, at("module.", [*RESNET, "bn1.num_batches_tracked"])),
        "prefix-module",
    ),
    (
        "stripped where nothing was to strip",
        torch_text(["conv_first.weight", "conv_first.bias", "upconv1.weight"], ["rst.weight", "rst.bias", ".weight"]),
        "prefix-module",
    ),
    ("compiled file", torch_text(LLAMA, at("_orig_mod.", LLAMA)), "prefix-compile"),
    ("compiled model", torch_text(at("_orig_mod.", LLAMA), LLAMA, cut=True), "prefix-compile"),
    (
        "compiled parts",
        torch_text(LLAMA[::2], [k.replace("self_attn", "self_attn._orig_mod") for k in LLAMA[::2]]),
        "prefix-compile",
    ),
    ("compiled inside DDP", torch_text(LLAMA, at("module._orig_mod.", LLAMA)), "prefix-compile"),
    ("Lightning module", torch_text(RESNET, at("model.", RESNET)), "prefix-wrapper"),
    ("backbone alone", torch_text(at("backbone.", RESNET), RESNET), "prefix-wrapper"),
    ("a prefix inside", torch_text(at("generator.", RESNET), at("generator.net.", RESNET)), "prefix-wrapper"),
    (
        "FSDP names",
        torch_text(
            LLAMA, ["_fsdp_wrapped_module." + k.replace("self_attn", "_fsdp_wrapped_module.self_attn") for k in LLAMA]
        ),
        "prefix-wrapper",
    ),
    (
        "renamed words",
        torch_text(
            BERT,
            [
                k.replace("encoder.layer", "blocks").replace("attention.self", "attn")
                if "query" in k
                else k.replace("encoder.layer", "blocks")
                for k in BERT
            ],
        ),
        "renamed-modules",
    ),
    (
        "a converter run twice",
        torch_text(each("q k v", "attn.0.to_{}.weight"), each("q k v", "attn.0.to_to_{}.weight")),
        "renamed-modules",
    ),
    (
        "gamma and beta",
        torch_text(
            each("0 1", "layer.{}.LayerNorm.gamma", "layer.{}.LayerNorm.beta"),
            each("0 1", "layer.{}.LayerNorm.weight", "layer.{}.LayerNorm.bias"),
        ),
        "renamed-modules",
    ),
    (
        "counted from one",
        torch_text(
            each("0 ", "blocks.{}.attn.weight", "blocks.{}.attn.bias"),
            each("12", "blocks.{}.attn.weight", "blocks.{}.attn.bias"),
        ),
        "index-shift",
    ),
    (
        "the whole checkpoint",
        torch_text(RESNET, ["epoch", "arch", "state_dict", "best_acc1", "optimizer"]),
        "nested-dict",
    ),
    (
        "a container of another name",
        torch_text(RESNET, ["model_state_dict", "optimizer_state_dict", "loss"]),
        "nested-dict",
    ),
    (
        "DeepSpeed's file",
        torch_text(LLAMA, ["module", "buffer_names", "optimizer", "param_shapes", "ds_config", "ds_version"]),
        "nested-dict",
    ),
    ("EMA's container", torch_text(RESNET, ["params_ema"]), "nested-dict"),
    ("first key `epoch`", "KeyError: 'unexpected key \"epoch\" in state_dict'", "nested-dict"),
    ("counters", torch_text(unexpected=each("bn1 layer1.0.bn1", "{}.num_batches_tracked")), "missing-buffers"),
    ("position ids", torch_text(unexpected=["bert.embeddings.position_ids"]), "missing-buffers"),
    (
        "rotary tables",
        torch_text(each("0 1 2", "model.layers.{}.self_attn.rotary_emb.inv_freq"), cut=True),
        "missing-buffers",
    ),
    ("extra state", torch_text(each("fc1 fc2", "decoder.layers.0.mlp.{}._extra_state")), "missing-buffers"),
    ("thop's counters", torch_text(unexpected=["total_ops", "total_params", "model.0.total_ops"]), "missing-buffers"),
    ("a loss kept in the module", torch_text(unexpected=["criterion.weight"]), "missing-buffers"),
    ("a loss network", torch_text(["perceptual_loss.vgg.0.weight", "perceptual_loss.vgg.0.bias"]), "missing-buffers"),
    (
        "causal masks",
        torch_text(each("0 1", "transformer.h.{}.attn.bias", "transformer.h.{}.attn.masked_bias")),
        "missing-buffers",
    ),
    (
        "window attention tables",
        torch_text(unexpected=["layers.0.blocks.1.attn_mask", "layers.0.blocks.0.attn.relative_position_index"]),
        "missing-buffers",
    ),
    ("running statistics", torch_text(each("norm1 norm2", "{}.running_mean", "{}.running_var")), "missing-buffers"),
    (
        "classes",
        torch_text(sizes=[("fc.weight", (1000, 512), (10, 512)), ("fc.bias", (1000,), (10,))]),
        "num-classes/head",
    ),
    (
        "classes of a detector",
        torch_text(
            sizes=[
                ("roi_heads.box_predictor.cls_score.weight", (91, 1024), (3, 1024)),
                ("roi_heads.box_predictor.cls_score.bias", (91,), (3,)),
                ("roi_heads.box_predictor.bbox_pred.weight", (364, 1024), (12, 1024)),
                ("roi_heads.box_predictor.bbox_pred.bias", (364,), (12,)),
            ]
        ),
        "num-classes/head",
    ),
    (
        "classes of a detector without telling names",
        torch_text(
            sizes=[
                (f"model.24.m.{i}.{w}", (255, *s), (18, *s))
                for i in range(3)
                for w, s in (("weight", (128 << i, 1, 1)), ("bias", ()))
            ]
        ),
        "num-classes/head",
    ),
    (
        "classes of a segmentation",
        torch_text(
            sizes=[
                ("decode_head.conv_seg.weight", (150, 512, 1, 1), (19, 512, 1, 1)),
                ("decode_head.conv_seg.bias", (150,), (19,)),
                ("auxiliary_head.conv_seg.weight", (150, 256, 1, 1), (19, 256, 1, 1)),
            ],
            cut=True,
        ),
        "num-classes/head",
    ),
    (
        "another head",
        torch_text(["classifier.dense.weight", "classifier.out_proj.weight"], ["lm_head.bias", "lm_head.dense.weight"]),
        "num-classes/head",
    ),
    (
        "a new classifier",
        "Some weights of BertForX were not initialized from the model checkpoint at b and are newly initialized: "
        "['classifier.bias', 'classifier.weight']\nYou should probably TRAIN",
        "num-classes/head",
    ),
    (
        "vocabulary",
        torch_text(
            sizes=[
                ("model.embed_tokens.weight", (32000, 4096), (32001, 4096)),
                ("lm_head.weight", (32000, 4096), (32001, 4096)),
            ]
        ),
        "vocab-or-shape-change",
    ),
    (
        "symbols of a text-to-speech model",
        torch_text(sizes=[("enc_p.emb.weight", (178, 192), (512, 192))]),
        "vocab-or-shape-change",
    ),
    ("image size", torch_text(sizes=[("pos_embed", (1, 197, 768), (1, 577, 768))]), "vocab-or-shape-change"),
    (
        "window size",
        torch_text(
            sizes=[
                ("layers.0.blocks.0.attn.relative_position_bias_table", (169, 4), (529, 4)),
                ("layers.0.blocks.0.attn.relative_position_index", (49, 49), (144, 144)),
            ]
        ),
        "vocab-or-shape-change",
    ),
    ("input channels", torch_text(sizes=[("conv1.weight", (64, 3, 7, 7), (64, 1, 7, 7))]), "vocab-or-shape-change"),
    (
        "a bottleneck's file on a basic block",
        torch_text(
            unexpected=[*each("layer1.0.conv3 layer2.0.conv3", "{}.weight"), *each("layer1.0.bn3", *BN)],
            sizes=[
                ("layer1.0.conv1.weight", (64, 64, 1, 1), (64, 64, 3, 3)),
                ("layer2.0.conv1.weight", (128, 256, 1, 1), (128, 64, 3, 3)),
                ("fc.weight", (1000, 2048), (1000, 512)),
            ],
        ),
        "wrong-architecture/variant",
    ),
    (
        "more layers",
        torch_text(
            each("12 13 14", "encoder.layer.{}.attention.self.query.weight", "encoder.layer.{}.output.dense.weight")
        ),
        "wrong-architecture/variant",
    ),
    (
        "a wider model",
        torch_text(
            sizes=[
                ("embeddings.word_embeddings.weight", (30522, 1024), (30522, 768)),
                ("encoder.layer.0.attention.self.query.weight", (1024, 1024), (768, 768)),
                ("encoder.layer.0.attention.self.query.bias", (1024,), (768,)),
            ],
            cut=True,
        ),
        "wrong-architecture/variant",
    ),
    (
        "linear against convolution",
        torch_text(sizes=[("input_blocks.1.1.proj_in.weight", (320, 320), (320, 320, 1, 1))], cut=True),
        "wrong-architecture/variant",
    ),
    (
        "unrelated networks",
        torch_text(
            ["stem.0.weight", "stages.0.blocks.0.norm.weight", "stages.0.blocks.0.mlp.fc1.weight"],
            ["patch_embed.proj.weight", "cls_token", "blocks.0.attn.qkv.weight", "blocks.0.attn.qkv.bias"],
        ),
        "wrong-architecture/variant",
    ),
    (
        "a decoder's file on an encoder, bare numbers",
        torch_text(each("1 8 11", *LINEAR), each("29 32 35 38", *LINEAR), cut=True),
        "wrong-architecture/variant",
    ),
    (
        "bitsandbytes",
        torch_text(
            unexpected=each(
                "q k",
                "layers.0.{}.weight.absmax",
                "layers.0.{}.weight.quant_map",
                "layers.0.{}.weight.quant_state.bitsandbytes__nf4",
            )
        ),
        "quantized",
    ),
    (
        "GPTQ",
        torch_text(
            each("q k", "layers.0.{}.weight"),
            each("q k", "layers.0.{}.qweight", "layers.0.{}.qzeros", "layers.0.{}.scales", "layers.0.{}.g_idx"),
        ),
        "quantized",
    ),
    ("packed to a column", torch_text(sizes=[("layers.0.q_proj.weight", (8388608, 1), (4096, 4096))]), "quantized"),
    (
        "torch's own quantisation",
        torch_text(
            each("conv1 fc", "{}.weight"),
            each("conv1 fc", "{}.scale", "{}.zero_point", "{}._packed_params._packed_params"),
        ),
        "quantized",
    ),
    (
        "an adapter",
        torch_text(
            LLAMA,
            each(
                "0 1",
                "base_model.model.model.layers.{}.self_attn.q_proj.lora_A.weight",
                "base_model.model.model.layers.{}.self_attn.q_proj.lora_B.weight",
            ),
        ),
        "lora/peft",
    ),
    (
        "an adapter's rank",
        torch_text(
            sizes=[
                (f"base_model.model.model.layers.{i}.self_attn.q_proj.lora_A.default.weight", (8, 4096), (16, 4096))
                for i in range(3)
            ]
        ),
        "lora/peft",
    ),
    (
        "ComfyUI",
        "\n".join(f"lora key not loaded: diffusion_model.blocks.{i}.attn.q.lora_up.weight" for i in range(3)),
        "lora/peft",
    ),
    ("the output is tied", torch_text(["lm_head.weight"]), "tied-weights"),
    (
        "tied embeddings",
        "Some weights of T5 were not initialized from the model checkpoint at t and are newly initialized: "
        "['decoder.embed_tokens.weight', 'encoder.embed_tokens.weight', 'lm_head.weight']\n",
        "tied-weights",
    ),
    (
        "an old InstanceNorm",
        'RuntimeError: Error(s) in loading state_dict for Net:\n\tUnexpected running stats buffer(s) '
        '"a.running_mean" and "a.running_var" for InstanceNorm2d with track_running_stats=False. If state_dict is a '
        'checkpoint saved before 0.4.0, this may be expected',
        "version-change",
    ),
    (
        "weight norm, new on old",
        torch_text(
            each("ups.0 ups.1", "{}.weight_g", "{}.weight_v"),
            each("ups.0 ups.1", "{}.parametrizations.weight.original0", "{}.parametrizations.weight.original1"),
        ),
        "weight-norm/parametrization",
    ),
    (
        "weight norm removed",
        torch_text(each("ups.0 ups.1", "{}.weight"), each("ups.0 ups.1", "{}.weight_g", "{}.weight_v")),
        "weight-norm/parametrization",
    ),
    (
        "pruning masks",
        torch_text(each("conv1 conv2", "{}.weight"), each("conv1 conv2", "{}.weight_orig", "{}.weight_mask")),
        "weight-norm/parametrization",
    ),
    (
        "fused attention",
        torch_text(
            each("0 1", "blocks.{}.attn.qkv.weight"),
            each("0 1", "blocks.{}.attn.q_proj.weight", "blocks.{}.attn.k_proj.weight", "blocks.{}.attn.v_proj.weight"),
        ),
        "fused/split tensors",
    ),
    (
        "fused gate",
        torch_text(
            each("0 1", "layers.{}.mlp.gate_proj.weight", "layers.{}.mlp.up_proj.weight"),
            each("0 1", "layers.{}.mlp.gate_up_proj.weight"),
        ),
        "fused/split tensors",
    ),
    ("an optimizer's file", torch_text(RESNET, ["state", "param_groups"]), "other"),
    (
        "ZeRO-3 placeholders",
        torch_text(sizes=[("model.embed_tokens.weight", (0,), (32000, 4096)), ("model.norm.weight", (0,), (4096,))]),
        "other",
    ),
    (
        "placeholders in the model",
        torch_text(
            sizes=[("model.embed_tokens.weight", (32000, 4096), (0,)), ("model.layers.0.q.weight", (4096, 4096), (0,))]
        ),
        "other",
    ),
    (
        "meta tensors",
        HEAD_META
        := "RuntimeError: Error(s) in loading state_dict for Net:\n\tWhile copying the parameter named "
           "\"a.weight\", whose dimensions in the model are torch.Size([2]) and whose dimensions in the checkpoint "
           "are torch.Size([2]), an exception occurred : ('Cannot copy out of meta tensor; no data!',).",
        "other",
    ),
    ("folded biases", torch_text(each("stages.0.0 stages.0.1", "{}.dwconv.bias")), "other"),
)
