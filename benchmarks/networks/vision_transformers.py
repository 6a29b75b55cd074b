"""Vision transformers."""

from __future__ import annotations

from typing import Any

from libraries import import_torchvision

from networks.makers import timm, torchvision, transformers
from networks.network import Network, Pair

VIT: dict[str, Any] = {
    "image_size": 32, "patch_size": 8, "num_hidden_layers": 3, "num_attention_heads": 4, "hidden_size": 48,
    "intermediate_size": 96, "num_labels": 10,
}  # fmt: skip
TIMM_SIZES: dict[str, Any] = {
    "img_size": 32,
    "patch_size": 8,
    "depth": 3,
    "num_heads": 4,
    "embed_dim": 48,
    "mlp_ratio": 2,
}
SWIN: dict[str, Any] = {"embed_dim": 16, "depths": [2, 2, 4], "num_heads": [2, 4, 8]}


def _torchvision_swinv2() -> Any:
    swin = import_torchvision().models.swin_transformer
    kinds = {"block": swin.SwinTransformerBlockV2, "downsample_layer": swin.PatchMergingV2}
    return swin.SwinTransformer(patch_size=[4, 4], window_size=[4, 4], num_classes=10, **kinds, **SWIN)


TORCHVISION_VIT = torchvision(
    "VisionTransformer", image_size=32, patch_size=8, num_layers=3, num_heads=4, hidden_dim=48, mlp_dim=96
)
TORCHVISION_SWIN = torchvision("SwinTransformer", patch_size=[4, 4], window_size=[7, 7], **SWIN)
TIMM_SWINV2 = timm("swinv2_tiny_window8_256", img_size=64, window_size=4, **SWIN)
TIMM_VIT = timm("vit_tiny_patch16_224", **TIMM_SIZES)
TIMM_SWIN = timm("swin_tiny_patch4_window7_224", img_size=112, window_size=7, **SWIN)
HF_VIT = transformers("ViTForImageClassification", "ViTConfig", **VIT)
HF_SWIN = transformers("SwinForImageClassification", "SwinConfig", image_size=112, num_labels=10, **SWIN)
HF_DEIT = transformers("DeiTForImageClassificationWithTeacher", "DeiTConfig", **VIT)
HF_BEIT = transformers(
    "BeitForImageClassification", "BeitConfig", use_relative_position_bias=True, use_mean_pooling=True, **VIT
)
HF_SWINV2 = transformers(
    "Swinv2ForImageClassification", "Swinv2Config", image_size=64, window_size=4, num_labels=10, **SWIN
)
HF_MOBILEVIT = transformers(
    "MobileViTForImageClassification", "MobileViTConfig", image_size=64, hidden_sizes=[64, 80, 96], expand_ratio=2.0,
    neck_hidden_sizes=[16, 16, 24, 48, 64, 80, 320], num_labels=10,
)  # fmt: skip
HF_PVT = transformers("PvtV2ForImageClassification", "PvtV2Config", num_labels=10)

PAIRS = (
    Pair(TORCHVISION_VIT, TIMM_VIT, 32),
    Pair(TORCHVISION_VIT, HF_VIT, 32),
    Pair(TIMM_VIT, HF_VIT, 32),
    Pair(timm("deit_tiny_distilled_patch16_224", **TIMM_SIZES), HF_DEIT, 32),
    Pair(timm("beit_base_patch16_224", init_values=0.1, **TIMM_SIZES), HF_BEIT, 32),
    Pair(TORCHVISION_SWIN, TIMM_SWIN, 112),
    Pair(TIMM_SWIN, HF_SWIN, 112),
    Pair(TORCHVISION_SWIN, HF_SWIN, 112),
    Pair(Network("torchvision", "SwinTransformer, version 2", _torchvision_swinv2), TIMM_SWINV2, 64),
    Pair(TIMM_SWINV2, HF_SWINV2, 64),
    Pair(timm("pvt_v2_b0"), HF_PVT, 64),
    Pair(timm("mobilevit_xxs"), HF_MOBILEVIT, 64),
)
