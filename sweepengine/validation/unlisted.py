"""Text decoders of transformers that AutoModel does not know."""

from typing import Any

from transformers.models.deepseek_ocr2.modeling_deepseek_ocr2 import DeepseekOcr2TextModel
from transformers.models.ernie4_5_vl_moe.modeling_ernie4_5_vl_moe import (
    Ernie4_5_VLMoeTextModel,
)
from transformers.models.granite4_vision.modeling_granite4_vision import Granite4VisionTextModel
from transformers.models.kosmos2.modeling_kosmos2 import Kosmos2TextForCausalLM
from transformers.models.kosmos2_5.modeling_kosmos2_5 import Kosmos2_5TextForCausalLM
from transformers.models.mllama.modeling_mllama import MllamaForCausalLM
from transformers.models.paddleocr_vl.modeling_paddleocr_vl import PaddleOCRTextModel
from transformers.models.step3p7.modeling_step3p7 import Step3p7TextModel

from sweepengine.validation.decoders import OCR_TEXT

UNLISTED: dict[str, Any] = {
    OCR_TEXT: DeepseekOcr2TextModel,
    "ernie4_5_vl_moe_text": Ernie4_5_VLMoeTextModel,
    "granite4_vision_text": Granite4VisionTextModel,
    "kosmos_2_5_text_model": Kosmos2_5TextForCausalLM,
    "kosmos_2_text_model": Kosmos2TextForCausalLM,
    "mllama_text_model": MllamaForCausalLM,
    "paddleocr_vl_text": PaddleOCRTextModel,
    "step3p5": Step3p7TextModel,
}
"""Type of a text part to the class that runs it."""
