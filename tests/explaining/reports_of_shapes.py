"""Reports in the style of real ones, where sizes, heads or packed tensors say what happened.

Each is (name, text, the cause that a maintainer would name).
"""

from __future__ import annotations

from tests.explaining.wording import BN, LINEAR, each, torch_text

REPORTS: tuple[tuple[str, str, str], ...] = (
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
        "yolo cut",
        torch_text(
            sizes=[("model.24.m.0.weight", (255, 128, 1, 1), (18, 128, 1, 1)), ("model.24.m.0.bias", (255,), (18,))],
            cut=True,
        ),
        "num-classes/head",
    ),
    (
        "OCR",
        torch_text(
            sizes=[("module.Prediction.weight", (38, 512), (96, 512)), ("module.Prediction.bias", (38,), (96,))]
        ),
        "num-classes/head",
    ),
    (
        "vit finetune",
        torch_text(
            sizes=[
                ("pos_embed", (1, 197, 768), (1, 577, 768)),
                ("head.weight", (1000, 768), (10, 768)),
                ("head.bias", (1000,), (10,)),
            ]
        ),
        "num-classes/head",
    ),
    (
        "mmdet",
        torch_text(
            sizes=[
                ("bbox_head.retina_cls.weight", (720, 256, 3, 3), (9, 256, 3, 3)),
                ("bbox_head.retina_cls.bias", (720,), (9,)),
            ]
        ),
        "num-classes/head",
    ),
    (
        "unet outc",
        torch_text(sizes=[("outc.conv.weight", (2, 64, 1, 1), (1, 64, 1, 1)), ("outc.conv.bias", (2,), (1,))]),
        "num-classes/head",
    ),
    (
        "deeplab cls",
        torch_text(
            sizes=[
                ("module.classifier.classifier.3.weight", (21, 256, 1, 1), (2, 256, 1, 1)),
                ("module.classifier.classifier.3.bias", (21,), (2,)),
            ],
            cut=True,
        ),
        "num-classes/head",
    ),
    (
        "hf cls unused",
        "Some weights of the model checkpoint at bert-base-uncased were not used when initializing BertModel: "
        "['cls.predictions.bias', 'cls.predictions.transform.dense.weight', 'cls.seq_relationship.weight', "
        "'cls.predictions.decoder.weight', 'cls.predictions.transform.LayerNorm.bias']\n- This IS",
        "num-classes/head",
    ),
    (
        "pooler",
        "Some weights of RobertaModel were not initialized from the model checkpoint at r and are newly "
        "initialized: ['roberta.pooler.dense.bias', 'roberta.pooler.dense.weight']\nYou",
        "num-classes/head",
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
        "awq missing",
        torch_text(
            each(
                "0 1",
                "model.layers.{}.q_proj.qweight",
                "model.layers.{}.q_proj.qzeros",
                "model.layers.{}.q_proj.scales",
            ),
            each("0 1", "model.layers.{}.q_proj.weight"),
            cut=True,
        ),
        "quantized",
    ),
    (
        "qat",
        torch_text(unexpected=each("conv1 conv2", "{}.weight_fake_quant.scale", "{}.activation_post_process.min_val")),
        "quantized",
    ),
    ("fp8", "KeyError: 'model.layers.0.self_attn.q_proj.weight_scale_inv'", "quantized"),
    ("8bit SCB", torch_text(unexpected=each("0 1", "h.{}.attn.c_attn.SCB", "h.{}.mlp.c_fc.SCB")), "quantized"),
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
        "espnet vocab",
        torch_text(
            sizes=[
                ("decoder.embed.0.weight", (5002, 256), (4233, 256)),
                ("decoder.output_layer.weight", (5002, 256), (4233, 256)),
                ("decoder.output_layer.bias", (5002,), (4233,)),
                ("ctc.ctc_lo.weight", (5002, 256), (4233, 256)),
                ("ctc.ctc_lo.bias", (5002,), (4233,)),
            ]
        ),
        "vocab-or-shape-change",
    ),
    (
        "peft vocab",
        torch_text(
            sizes=[
                ("base_model.model.model.embed_tokens.modules_to_save.default.weight", (32016, 4096), (32000, 4096)),
                ("base_model.model.lm_head.modules_to_save.default.weight", (32016, 4096), (32000, 4096)),
            ]
        ),
        "vocab-or-shape-change",
    ),
    ("features size", torch_text(sizes=[("fc1.weight", (128, 9216), (128, 4608))]), "vocab-or-shape-change"),
    (
        "inpaint",
        torch_text(sizes=[("model.diffusion_model.input_blocks.0.0.weight", (320, 9, 3, 3), (320, 4, 3, 3))]),
        "vocab-or-shape-change",
    ),
    ("speakers", torch_text(sizes=[("emb_g.weight", (109, 256), (1, 256))]), "vocab-or-shape-change"),
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
        "cifar resnet",
        torch_text(
            sizes=[
                ("conv1.weight", (64, 3, 7, 7), (64, 3, 3, 3)),
                ("fc.weight", (1000, 512), (10, 512)),
                ("fc.bias", (1000,), (10,)),
            ]
        ),
        "wrong-architecture/variant",
    ),
    (
        "patch size",
        torch_text(
            sizes=[
                ("patch_embed.proj.weight", (768, 3, 16, 16), (768, 3, 32, 32)),
                ("pos_embed", (1, 197, 768), (1, 50, 768)),
            ]
        ),
        "wrong-architecture/variant",
    ),
    (
        "mp shards",
        torch_text(
            sizes=[
                ("layers.0.attention.wq.weight", (2048, 4096), (4096, 4096)),
                ("layers.0.attention.wk.weight", (2048, 4096), (4096, 4096)),
                ("layers.0.attention.wo.weight", (4096, 2048), (4096, 4096)),
            ],
            cut=True,
        ),
        "wrong-architecture/variant",
    ),
    (
        "deeper by blocks",
        torch_text(
            unexpected=each("6 7 8", "layer3.{}.conv1.weight", "layer3.{}.bn1.weight", "layer3.{}.bn1.running_mean")
        ),
        "wrong-architecture/variant",
    ),
    (
        "bn1 to bn trap",
        torch_text(
            [*each("layer1.0.bn layer2.0.bn", *BN), "layer1.0.conv.weight", "layer2.0.conv.weight"],
            [*each("layer1.0.bn1 layer1.0.bn2 layer1.0.bn3 layer2.0.bn1 layer2.0.bn2 layer2.0.bn3", *BN)],
        ),
        "wrong-architecture/variant",
    ),
    (
        "hidden size",
        torch_text(
            sizes=[
                ("model.embed_tokens.weight", (32000, 5120), (32000, 4096)),
                ("model.layers.0.self_attn.q_proj.weight", (5120, 5120), (4096, 4096)),
                ("model.norm.weight", (5120,), (4096,)),
            ],
            cut=True,
        ),
        "wrong-architecture/variant",
    ),
    (
        "single embed hidden cut",
        torch_text(sizes=[("model.embed_tokens.weight", (32000, 5120), (32000, 4096)), ("x", (1,), (2,))], cut=True),
        "wrong-architecture/variant",
    ),
    (
        "classes under the name of a table",
        torch_text(sizes=[("class_embed.weight", (92, 256), (251, 256)), ("class_embed.bias", (92,), (251,))]),
        "num-classes/head",
    ),
    (
        "a vocabulary with its output layer",
        torch_text(sizes=[("lm_head.weight", (32, 768), (45, 768)), ("lm_head.bias", (32,), (45,))]),
        "vocab-or-shape-change",
    ),
    (
        "width of the first layers",
        torch_text(
            sizes=[("encoder.conv1.weight", (384, 80, 3), (512, 80, 3)), ("encoder.ln_post.weight", (384,), (512,))]
        ),
        "wrong-architecture/variant",
    ),
    (
        "rows of packed blocks",
        torch_text(
            sizes=[
                ("blk.0.attn_q.weight", (4096, 2304), (4096, 4096)),
                ("blk.0.attn_k.weight", (1024, 2304), (1024, 4096)),
            ]
        ),
        "quantized",
    ),
    (
        "width of another text encoder",
        torch_text(
            sizes=[(f"blocks.{i}.attn2.to_k.weight", (w, 1024), (w, 768)) for i, w in enumerate((320, 640, 1280))]
        ),
        "wrong-architecture/variant",
    ),
    ("type of a packed weight", "KeyError: 'model.layers.0.mlp.gate_up_proj.qweight_type'", "quantized"),
)
