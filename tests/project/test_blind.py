"""Structures of real networks that once went wrong, each a case of benchmarks/blind_cases.

Which stage gets them right is said at each; small networks written for a test hardly bring so much together.
"""

from pathlib import Path

import pytest
from asking import answers_of, ask
from cases import CORPUS, Case, read_cases
from scoring import Row, score

BLIND = CORPUS.parent / "blind_cases"

SOLVED = {
    "megvii-yolox_s_to_mmyolo-yolox_s": "stems of a head stand in the neck: what two blocks do not share is free",
    "openai-consistency-small_to_diffusers-unet2d": "blocks alone in their item: wrappers are left for what they wrap",
    "meta-llama3.2-vision-small_to_torchtune": "layers inside layers: a part is weighed against the rest beside it",
    "google-t5x-2layer_to_hf-t5": "norms named by what stands beside them, a head in the decoder",
    "keras-efficientnetb0-h5_to_hf-efficientnet": "blocks counted by letters, TensorFlow's :0",
    "whai362-shvit_s1_to_timm-shvit_s1": "as many blocks of a kind, behind one that is nearly alike",
    "fb-sapiens2-seg-3layer_to_hf5-sapiens2": "the w3 beside a w12 leads down",
}
HONEST = {
    "google-spectrogram_diffusion-decoder-2layer-t5x_to_diffusers-t5film": "two attentions that no name tells apart",
    "google-spectrogram_diffusion-decoder-12layer-t5x_to_diffusers-t5film": "twelve layers of a decoder run forwards",
    "allenai-olmo-2layer_to_hf-olmo": "nothing says which half of ff_proj is the gate",
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


@pytest.mark.parametrize("name", HONEST)
def test_no_wrong_match_without_a_flag(name: str) -> None:
    assert not answered(name).silent, HONEST[name]


@pytest.mark.parametrize("name", SERVED)
def test_served(name: str) -> None:
    wanted, by = SERVED[name]
    assert {m.model_keys[0]: m.checkpoint_keys for m in ask(case(name))}[wanted] == (by,)
