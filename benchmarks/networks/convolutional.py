"""Convolutional networks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from libraries import import_torchvision

from networks.makers import timm, torchvision, transformers
from networks.network import Network, Pair


def _convnext() -> Any:
    convnext = import_torchvision().models.convnext
    widths, depths = (16, 32, 48, 64, None), (1, 2, 3, 1)
    blocks = [convnext.CNBlockConfig(widths[i], widths[i + 1], depth) for i, depth in enumerate(depths)]
    return convnext.ConvNeXt(blocks, num_classes=10)


DENSENET: dict[str, Any] = {"growth_rate": 8, "block_config": (3, 4, 2)}
TORCHVISION_RESNET = torchvision("resnet18")
TORCHVISION_MOBILENETV2 = torchvision("mobilenet_v2", width_mult=0.35)
TORCHVISION_CONVNEXT = Network("torchvision", "ConvNeXt", _convnext)
CONVNEXT: dict[str, Any] = {"depths": (1, 2, 3, 1), "dims": (16, 32, 48, 64)}
TIMM_CONVNEXT = timm("convnext_tiny", **CONVNEXT)
TIMM_CONVNEXT_1X1 = replace(timm("convnext_tiny", conv_mlp=True, **CONVNEXT), name="convnext_tiny, conv_mlp")
HF_CONVNEXT = transformers(
    "ConvNextForImageClassification",
    "ConvNextConfig",
    depths=[1, 2, 3, 1],
    hidden_sizes=[16, 32, 48, 64],
    num_labels=10,
)
HF_RESNET = transformers(
    "ResNetForImageClassification", "ResNetConfig", layer_type="basic", depths=[2, 2, 2, 2], embedding_size=64,
    hidden_sizes=[64, 128, 256, 512], num_labels=10,
)  # fmt: skip
HF_REGNET = transformers(
    "RegNetForImageClassification", "RegNetConfig", layer_type="y", depths=[1, 1, 4, 7], groups_width=8,
    hidden_sizes=[24, 56, 152, 368], num_labels=10,
)  # fmt: skip
HF_CONVNEXTV2 = transformers(
    "ConvNextV2ForImageClassification", "ConvNextV2Config", depths=[2, 2, 6, 2], hidden_sizes=[40, 80, 160, 320],
    num_labels=10,
)  # fmt: skip
HF_MOBILENETV1 = transformers(
    "MobileNetV1ForImageClassification", "MobileNetV1Config", tf_padding=False, hidden_act="relu6", num_labels=10
)
HF_MOBILENETV2 = transformers(
    "MobileNetV2ForImageClassification", "MobileNetV2Config", tf_padding=False, hidden_act="relu6",
    depth_multiplier=0.35, finegrained_output=True, num_labels=10,
)  # fmt: skip
HF_EFFICIENTNET = transformers(
    "EfficientNetForImageClassification", "EfficientNetConfig", width_coefficient=1.0, depth_coefficient=1.0,
    hidden_dim=1280, image_size=64, num_labels=10,
)  # fmt: skip

PAIRS = (
    Pair(TORCHVISION_RESNET, timm("resnet18"), 64),
    Pair(TORCHVISION_RESNET, HF_RESNET, 64),
    Pair(torchvision("DenseNet", num_init_features=16, **DENSENET), timm("densenet121", **DENSENET), 64),
    Pair(torchvision("vgg11_bn"), timm("vgg11_bn"), 224),
    Pair(timm("mobilenetv1_100"), HF_MOBILENETV1, 64),
    Pair(TORCHVISION_MOBILENETV2, timm("mobilenetv2_035"), 64),
    Pair(TORCHVISION_MOBILENETV2, HF_MOBILENETV2, 64),
    Pair(torchvision("mobilenet_v3_small"), timm("mobilenetv3_small_100"), 64),
    Pair(torchvision("mnasnet0_5"), timm("mnasnet_050"), 64),
    Pair(torchvision("efficientnet_b0"), timm("efficientnet_b0"), 64),
    Pair(timm("tf_efficientnet_b0"), HF_EFFICIENTNET, 64),
    Pair(torchvision("regnet_y_400mf"), timm("regnety_004"), 64),
    Pair(timm("regnety_002"), HF_REGNET, 64),
    Pair(TORCHVISION_CONVNEXT, TIMM_CONVNEXT, 64),
    Pair(TIMM_CONVNEXT, TIMM_CONVNEXT_1X1, 64),
    Pair(TORCHVISION_CONVNEXT, HF_CONVNEXT, 64),
    Pair(TIMM_CONVNEXT, HF_CONVNEXT, 64),
    Pair(timm("convnextv2_atto"), HF_CONVNEXTV2, 64),
)
