"""Structures of real networks that once went wrong, each a case of benchmarks/blind_cases.

Which stage gets them right is said at each; small networks written for a test hardly bring so much together.
"""

from pathlib import Path

import pytest
from asking import answers_of, ask
from cases import CORPUS, Case, knock_out, read_cases
from scoring import Row, score

from automatch.rules.induce import induce

BLIND = CORPUS.parent / "blind_cases"

SOLVED = {
    "megvii-yolox_s_to_mmyolo-yolox_s": "stems of a head stand in the neck: what two blocks do not share is free",
    "openai-consistency-small_to_diffusers-unet2d": "blocks alone in their item: wrappers are left for what they wrap",
    "meta-llama3.2-vision-small_to_torchtune": "layers inside layers: a part is weighed against the rest beside it",
    "google-t5x-2layer_to_hf-t5": "norms named by what stands beside them, a head in the decoder",
    "keras-efficientnetb0-h5_to_hf-efficientnet": "blocks counted by letters, TensorFlow's :0",
    "whai362-shvit_s1_to_timm-shvit_s1": "as many blocks of a kind, behind one that is nearly alike",
    "fb-sapiens2-seg-3layer_to_hf5-sapiens2": "the w3 beside a w12 leads down",
    "deepmind-perceiver-2layer-haiku_to_hf5-perceiver": "the first of several modules has no number",
    "ms-xclip-2+2layer_to_hf5-xclip": "what is turned on both sides is not turned",
    "openai-shap_e-2layer_to_diffusers-prior": "a [1, n, d] that only one side has is a matrix",
    "thudm-cogview4-2layer_to_diffusers-cogview4": "numbered modules of the layers stand in another container",
    "minimax-m3_vl-3+2layer_to_hf5-minimax_m3_vl": "stacked experts are no heads to be merged",
    "deepspeed-universal-starcoder2-2layer_to_hf5-starcoder2": "slots beside the parameter's own tensor",
    "codertimo-bert-2layer_to_nn-transformerencoder": "three numbered layers of an attention",
    "mlpen-nystromformer-2layer_to_hf5-nystromformer": "a head's bias is its decoder's bias",
    "ogb-gin-2layer_to_blocks": "atoms are nodes and bonds edges",
    "tencent-hunyuandit-4layer_to_diffusers-hunyuandit": "norms that are only numbered go with the part behind them",
    "generative023-decoderonly-small_to_monai-decoderonly": "norms that one side only numbers",
    "audiocraft-musicgen-2layer_to_hf-musicgen": "norms that stand behind their parts",
    "tencent-hunyuanvideo-lora-2+3layers_to_hunyuanvideo-with-adapter": "an adapter of what was fused",
    "sapient-hrm_text-2+2layers_to_hf5-hrm_text": "a gqkv spells its parts",
    "allenai-molmo2-3+2layer_to_hf5-molmo2": "an embedding in two parts",
    "nnunetv1-3d-3stage_to_nnunetv2-plainconvunet": "every tensor of the model has up to four keys",
    "fb-dit-2layer_to_diffusers-dit": "one timestep embedding serves all blocks",
    "jaywalnut310-vits-2layer_to_hf5-vits": "norm_layers_1.0 is layers.0.layer_norm; post_convs is no norm",
    "wrong-variant-timm-cait-3block_to_cait-5block": "cls_layers are blocks_token_only, not the last two blocks",
    "hf-upernet-swin-tiny_to_smp-upernet": "a list beside one that runs backwards does so too",
    "neonbjb-tortoise-ar-3+2layer_to_hf5-clvp": "Linear layers beside GPT-2's Conv1D, square ones too",
    "pyg13-mpnn-qm9-dim32_to_pyg28-mpnn": "a square root is multiplied from the left",
    "lucidrains-ddpm-dim32-trainer_to_unet": "three copies of one network",
    "servicenow-nbeats-30block_to_own-stacks-20block": "heads of blocks that are matched, more in the checkpoint",
    "meta-w2v_bert-2layer_to_hf5-wav2vec2_bert": "an order that all but two norms keep",
    "hszhao-pspnet-4block_to_mmseg-pspnet": "a cls may be a conv_seg",
    "gguf-gemma4-3layer_to_hf5-gemma4": "ffw is the feed-forward",
    "caffe2-msra-R-50_to_detectron2-fpn-backbone": "Caffe2's blobs, branches counted by letters",
    "google-tf2-official-bert-3layer_to_hf5-bert": "TensorFlow's objects end in VARIABLE_VALUE",
    "keras-inceptionv3_to_tv-inception_v3": "Keras' modules in the order of their making",
    "peft-lora-roberta-2layer-seqcls-adapter_to_peftmodel": "an adapter's file serves the trained copy of a head alone",
    "hf-bert-base-pretraining_to_hf5-bertforquestionanswering": "the head of one task is not that of another",
    "near-hf4-vit-base-p16_to_hf5-vit-base-p32-21k": "one key of one shape, beside a weight of another",
    "fairseq-bart-2+2layer-mnli_to_hf5-bartforsequenceclassification": "a shared table that the file holds twice",
    "hf4-deepseek_v3-3layer_to_mlx-deepseek_v3": "one matrix for keys and values, and two, for each head",
    "lyuwenyu-rtdetr-4stage_to_hf-rtdetrforobjectdetection": "a class_embed is a head, and held twice",
    "google-vivit-2layer-flax_to_hf-vivitforvideoclassification": "an optimizer's target are the parameters",
    "daniil-osokin-lightweight-pose-1stage_to_own-other-keypoints": "the bias of a convolution of other channels",
    "kerashub-bert-2layer-h5_to_hf5-bertmodel": "Keras 3 numbers the variables of a layer",
    "kerashub-gpt2-2layer-h5_to_hf5-gpt2model": "q, k and v joined as they are stored, where both sides are turned",
    "kerashub-llama3-2layer-h5_to_hf5-llama": "a reversible embedding that is not tied holds the head",
    "hf4-swin-4stage-mim_to_hf5-swinforimageclassification": "a table of indices is no weight",
    "timm-levit_128s-underscored-names_to_timm-levit_128s-21classes": "statistics at the end of joined names",
    "hf-phi3-2layer_to_litgpt": "gate and up under names that say nothing, flagged",
    "tv-keypointrcnn-ddp_to_tv-maskrcnn-4classes": "four norms of a stage are no half of a head of four classes",
}
DAMAGED = {
    ("hf430-git-2+2layer-position_ids_to_hf5-gitmodel", 1): "lists of one name in one model go together",
    (
        "timm-darknet21_to_eriklindernoren-yolov3",
        2,
    ): "convolutions whose norms lost their weights, whole ones elsewhere",
    ("fb-levit_384_to_timm-levit_384", 2): "attentions and their mlps, in stages of another cut",
    ("timm-regnety_120_to_hf-regnet", 1): "names decide between a shortcut and a convolution that lost tensors",
    ("nvidia-radio-3layer_to_hf5-radio", 2): "without qkv, a proj is no query",
    ("lucidrains-byol-mnasnet0_5_to_mnasnet", 1): "both copies beside the bare network are left out",
    ("kerashub-gpt2-medium-h5_to_hf5-gpt2model", 1): "the first layer has no number, and more than its like",
    ("gguf-lora-llama3.1-8b_to_peft-adapter", 1): "halves of adapters that lost the other do not change partners",
    ("flax-bart-2+2layer_to_hf5-bart", 1): "three keys share an embedding whose own key is not there",
    ("pymarl-qmix-3m_to_own-qmix", 1): "biases of a sequential whose weights are gone",
    ("ms-speecht5-tts-2+2layer_to_hf5-speecht5", 1): "to encode positions is no encoder",
}
"""With a family of tensors taken out of either side."""

HONEST = {
    "google-spectrogram_diffusion-decoder-2layer-t5x_to_diffusers-t5film": "two attentions that no name tells apart",
    "google-spectrogram_diffusion-decoder-12layer-t5x_to_diffusers-t5film": "twelve layers of a decoder run forwards",
    "allenai-olmo-2layer_to_hf-olmo": "nothing says which half of ff_proj is the gate",
    "idea-grounding_dino-2layer_to_hf5-grounding_dino": "a key that stands on both sides is not crossed",
}
SERVED = {
    "allenai-olmo-2layer_to_hf-olmo": ("lm_head.weight", "transformer.ff_out.weight"),
    "google-spectrogram_diffusion-decoder-12layer-t5x_to_diffusers-t5film": (
        "decoders.3.layer.2.DenseReluDense.wo.weight",
        "target/decoder/layers_3/mlp/wo/kernel",
    ),
}
"""A model key and what serves it."""


def case(name: str) -> Case:
    (path,) = BLIND.glob(f"*/{name}.json.gz")
    (found,) = read_cases([Path(path)])
    return found


def answered(name: str) -> Row:
    """The score of the matching alone."""
    asked = case(name)
    return score(asked, answers_of(ask(asked)), [])


@pytest.mark.parametrize("name", SOLVED)
def test_solved_whole(name: str) -> None:
    row = answered(name)
    assert row.solved and not row.silent, SOLVED[name]


@pytest.mark.parametrize(("name", "seed"), DAMAGED)
def test_solved_with_tensors_lost(name: str, seed: int) -> None:
    asked = knock_out(case(name), seed)
    row = score(asked, answers_of(ask(asked)), [])
    assert row.solved and not row.silent, DAMAGED[name, seed]


@pytest.mark.parametrize("name", HONEST)
def test_no_wrong_match_without_a_flag(name: str) -> None:
    assert not answered(name).silent, HONEST[name]


@pytest.mark.parametrize("name", SERVED)
def test_served(name: str) -> None:
    wanted, by = SERVED[name]
    assert {m.model_keys[0]: m.checkpoint_keys for m in ask(case(name))}[wanted] == (by,)


def test_rules_that_calculate_below_zero_are_taken_back() -> None:
    """Guesses in OpenPose's stages follow an arithmetic that fails on other keys of the file: other rules are found."""
    asked = case("cmu-openpose-body-6stage_to_own-pose-branches")
    matches = ask(asked)
    rules = induce(matches, [key for key, _, _ in asked.source], [key for key, _, _ in asked.target])
    moves = {m.checkpoint_keys[0]: rules.move(m.checkpoint_keys[0]) for m in matches if m.op == "rename"}
    assert moves and all(move is not None for move in moves.values())
    assert {key: move.targets for key, move in moves.items() if move} == {
        m.checkpoint_keys[0]: m.model_keys for m in matches if m.op == "rename"
    }
