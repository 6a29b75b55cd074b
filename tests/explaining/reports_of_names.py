"""Reports in the style of real ones, where names say what happened.

Each is (name, text, the cause that a maintainer would name).
"""

from __future__ import annotations

from tests.explaining.wording import BERT, LLAMA, RESNET, at, each, torch_text

REPORTS: tuple[tuple[str, str, str], ...] = (
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
    (
        "fairseq fused",
        torch_text(
            each(
                "0 1",
                "encoder.layers.{}.self_attn.k_proj.weight",
                "encoder.layers.{}.self_attn.v_proj.weight",
                "encoder.layers.{}.self_attn.q_proj.weight",
            ),
            each("0 1", "encoder.layers.{}.self_attn.in_proj_weight", "encoder.layers.{}.self_attn.in_proj_bias"),
        ),
        "fused/split tensors",
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
    (
        "diffusers lora",
        torch_text(
            unexpected=each(
                "q k v out", "unet.attn.processor.to_{}_lora.down.weight", "unet.attn.processor.to_{}_lora.up.weight"
            )
        ),
        "lora/peft",
    ),
    (
        "kohya lora",
        torch_text(
            RESNET,
            each(
                "q k",
                "lora_unet_down_blocks_0_attn1_to_{}.lora_down.weight",
                "lora_unet_down_blocks_0_attn1_to_{}.lora_up.weight",
                "lora_unet_down_blocks_0_attn1_to_{}.alpha",
            ),
        ),
        "lora/peft",
    ),
    ("model has lora", torch_text(each("0 1", "h.{}.attn.lora_A", "h.{}.attn.lora_B")), "lora/peft"),
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
        "bn counter with prefix",
        torch_text(unexpected=["module.bn1.num_batches_tracked", "module.layer1.0.bn1.num_batches_tracked"], cut=True),
        "missing-buffers",
    ),
    (
        "instance norm old",
        torch_text(unexpected=each("model.2 model.5", "{}.running_mean", "{}.running_var")),
        "missing-buffers",
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
    (
        "nested lightning",
        torch_text(
            RESNET,
            [
                "epoch",
                "global_step",
                "pytorch-lightning_version",
                "state_dict",
                "callbacks",
                "optimizer_states",
                "lr_schedulers",
            ],
            cut=True,
        ),
        "nested-dict",
    ),
    (
        "yolo dict",
        torch_text(RESNET, ["epoch", "best_fitness", "training_results", "model", "optimizer", "wandb_id"]),
        "nested-dict",
    ),
    ("d2 dict", torch_text(RESNET, ["model", "optimizer", "scheduler", "iteration"]), "nested-dict"),
    ("nested with DDP model", torch_text(at("module.", RESNET), ["epoch", "state_dict", "optimizer"]), "nested-dict"),
    ("keyerror state_dict", "Traceback\n    checkpoint['state_dict']\nKeyError: 'state_dict'", "nested-dict"),
    ("gan", torch_text(at("", RESNET), ["g", "d", "g_ema", "g_optim", "d_optim", "args"]), "nested-dict"),
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
        'RuntimeError: Error(s) in loading state_dict for Net:\n\tWhile copying the parameter named "a.weight", '
        "whose dimensions in the model are torch.Size([2]) and whose dimensions in the checkpoint are "
        "torch.Size([2]), an exception occurred : ('Cannot copy out of meta tensor; no data!',).",
        "other",
    ),
    ("folded biases", torch_text(each("stages.0.0 stages.0.1", "{}.dwconv.bias")), "other"),
    ("ldm ema", torch_text(each("a b c d", "model_ema.diffusion_model{}weight")), "other"),
    ("its own ema", torch_text([], each("a b c d", "modelEma.net.{}.weight")), "other"),
    ("a pool that averages", torch_text([], each("a b c d", "avg_pool.{}.weight")), "wrong-architecture/variant"),
    ("an average beside it", torch_text([], each("a b c d", "model_avg.{}.weight")), "other"),
    ("compiled file", torch_text(LLAMA, at("_orig_mod.", LLAMA)), "prefix-compile"),
    ("compiled model", torch_text(at("_orig_mod.", LLAMA), LLAMA, cut=True), "prefix-compile"),
    (
        "compiled parts",
        torch_text(LLAMA[::2], [k.replace("self_attn", "self_attn._orig_mod") for k in LLAMA[::2]]),
        "prefix-compile",
    ),
    ("compiled inside DDP", torch_text(LLAMA, at("module._orig_mod.", LLAMA)), "prefix-compile"),
    ("compile keyerror", "KeyError: 'unexpected key \"_orig_mod.wte.weight\" in state_dict'", "prefix-compile"),
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
    ("ddp partly cut missing only", torch_text(at("module.", RESNET)), "prefix-module"),
    ("empty key", torch_text(["conv1.weight"], ["", "er"]), "prefix-module"),
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
        "hf base prefix",
        "Some weights of the model checkpoint at x were not used when initializing BertModel: "
        "['bert.encoder.layer.0.output.dense.weight', 'bert.embeddings.LayerNorm.weight']\nSome weights of "
        "BertModel were not initialized from the model checkpoint at x and are newly initialized: "
        "['embeddings.LayerNorm.weight', 'encoder.layer.0.output.dense.weight']\nYou should",
        "prefix-wrapper",
    ),
    (
        "lightning loss",
        torch_text(RESNET, [*at("model.", RESNET), "criterion.weight", "val_acc.total"]),
        "prefix-wrapper",
    ),
    (
        "partial prefix",
        torch_text(at("encoder.", RESNET) + each("0 1", "decoder.{}.weight", "decoder.{}.bias"), RESNET),
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
        "densenet",
        torch_text(
            each(
                "1 2",
                "features.denseblock1.denselayer{}.norm1.weight",
                "features.denseblock1.denselayer{}.conv1.weight",
                "features.denseblock1.denselayer{}.norm2.weight",
            ),
            each(
                "1 2",
                "features.denseblock1.denselayer{}.norm.1.weight",
                "features.denseblock1.denselayer{}.conv.1.weight",
                "features.denseblock1.denselayer{}.norm.2.weight",
            ),
        ),
        "renamed-modules",
    ),
    ("the output is tied", torch_text(["lm_head.weight"]), "tied-weights"),
    (
        "tied embeddings",
        "Some weights of T5 were not initialized from the model checkpoint at t and are newly initialized: "
        "['decoder.embed_tokens.weight', 'encoder.embed_tokens.weight', 'lm_head.weight']\n",
        "tied-weights",
    ),
    ("vllm tied", "KeyError: 'lm_head.weight'", "tied-weights"),
    ("tied unexpected", torch_text(unexpected=["lm_head.weight"]), "tied-weights"),
    (
        "an old InstanceNorm",
        "RuntimeError: Error(s) in loading state_dict for Net:\n\tUnexpected running stats buffer(s) "
        '"a.running_mean" and "a.running_var" for InstanceNorm2d with track_running_stats=False. If state_dict is a '
        "checkpoint saved before 0.4.0, this may be expected",
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
        "wav2vec",
        "Some weights of the model checkpoint at w were not used when initializing Wav2Vec2Model: "
        "['encoder.pos_conv_embed.conv.weight_v', 'encoder.pos_conv_embed.conv.weight_g']\nSome weights of "
        "Wav2Vec2Model were not initialized from the model checkpoint at w and are newly initialized: "
        "['encoder.pos_conv_embed.conv.parametrizations.weight.original0', "
        "'encoder.pos_conv_embed.conv.parametrizations.weight.original1']\nYou",
        "weight-norm/parametrization",
    ),
    (
        "spectral",
        torch_text(
            ["main.0.weight", "main.2.weight"],
            [
                "main.0.weight_orig",
                "main.0.weight_u",
                "main.0.weight_v",
                "main.2.weight_orig",
                "main.2.weight_u",
                "main.2.weight_v",
            ],
        ),
        "weight-norm/parametrization",
    ),
    (
        "transformers' own checkpoint without its body",
        "Some weights of XForCausalLM were not initialized from the model checkpoint at ./out and are newly "
        "initialized: "
        "['layers.6.input_layernorm.weight', 'layers.8.mlp.down_proj.weight', 'layers.3.mlp.up_proj.weight']\nYou",
        "other",
    ),
    ("computed tables", torch_text(each("encoder decoder", "{}.pos_enc.sinusoid_table")), "missing-buffers"),
    ("grids of a field", torch_text(["density_grid", "density_bitfield", "step_counter"]), "missing-buffers"),
    ("basis of a transform", torch_text(["stft.forward_basis", "stft.window"]), "missing-buffers"),
    ("a parameter of its own is no buffer", torch_text(["cls_token", "query_embed"]), "wrong-architecture/variant"),
    (
        "parts of a detector are no output layers",
        torch_text(
            ["roi_head.mask_head.convs.0.conv.weight", "roi_head.bbox_head.shared_convs.0.conv.weight"],
            ["roi_head.bbox_head.1.fc_cls.weight", "roi_head.bbox_head.2.shared_fcs.0.weight", "neck.3.conv.weight"],
        ),
        "wrong-architecture/variant",
    ),
    (
        "an output layer under another name",
        torch_text(each("head", "{}.weight", "{}.bias"), each("pre_logits.fc", "{}.weight", "{}.bias")),
        "num-classes/head",
    ),
    (
        "numbers inside names",
        torch_text(each("block0 block1", "{}.conv.weight"), each("block4 block5", "{}.conv.weight")),
        "index-shift",
    ),
    (
        "first key, an inner one",
        "KeyError: 'unexpected key \"conv_refine.weight\" in state_dict'",
        "wrong-architecture/variant",
    ),
    (
        "old and new names of one network",
        torch_text(
            ["conv_first.weight", *each("0 1 2", "trunk.{}.RDB1.conv1.weight"), "trunk_conv.weight", "trunk_conv.bias"],
            ["model.0.weight", *each("0 1 2", "model.1.sub.{}.RDB1.conv1.0.weight"), "model.3.weight", "model.3.bias"],
        ),
        "renamed-modules",
    ),
    ("a learned prompt", torch_text(unexpected=["transformer.prefix_encoder.embedding.weight"]), "lora/peft"),
    (
        "a list cut behind three layers",
        torch_text(
            each("0 1 2 3", "blocks.{}.attn.proj.weight"), each("0 1 2 3", "layers.{}.attn.proj.weight"), cut=True
        ),
        "renamed-modules",
    ),
    (
        "a layer more in front of the output",
        torch_text(
            each("2 5", "classifier.{}.weight", "classifier.{}.bias"),
            each("1 4", "classifier.{}.weight", "classifier.{}.bias"),
        ),
        "index-shift",
    ),
    ("first key, fused", "KeyError: 'model.layers.0.self_attn.qkv_proj.weight'", "fused/split tensors"),
    (
        "one key with a word more",
        torch_text(
            ["layer1.0.conv2.weight", "layer1.1.se.fc1.weight"],
            ["layer1.0.conv2.conv.weight", "layer4.2.conv3.weight"],
            cut=True,
        ),
        "wrong-architecture/variant",
    ),
    ("an averaged codebook", torch_text(["quantize.ema_count", "quantize.ema_weight"]), "missing-buffers"),
    ("anchors with numbers", torch_text(each("0 1", "rpn.anchor_generator.cell_anchors.{}")), "missing-buffers"),
    (
        "a layer inside a block is no output layer",
        torch_text(unexpected=each("1 2", "layer{}.0.se.fc.0.weight", "layer{}.0.se.fc.2.weight")),
        "wrong-architecture/variant",
    ),
)
