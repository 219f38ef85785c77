"""Decoders of transformers from configs: on the meta device to count, on a real one to time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModel, AutoModelForCausalLM

from sweepengine.validation.unlisted import UNLISTED


@contextmanager
def made_on(device: torch.device | str, dtype: torch.dtype) -> Iterator[None]:
    """Make modules and tensors on a device, in a type.

    Parameters
    ----------
    device : torch.device or str
    dtype : torch.dtype
        torch's default type until the context ends.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)


def decoder_of(config: Any) -> tuple[Any, nn.Linear | None]:
    """Decoder and LM head of a config, with the implementation of attention that it names.

    Parameters
    ----------
    config : PreTrainedConfig
        Of a decoder, as transformers reads it.

    Returns
    -------
    tuple
        The decoder, and the head; None where the decoder has it.

    Raises
    ------
    Exception
        Whatever transformers raises where it cannot build the model.
    """
    attention = config._attn_implementation
    if config.model_type in UNLISTED:
        body = UNLISTED[config.model_type](config).eval()
    elif type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        body = AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()
    else:
        body = AutoModel.from_config(config, attn_implementation=attention).eval()
    if body.get_output_embeddings() is not None:
        return body, None
    return body, nn.Linear(config.hidden_size, config.vocab_size, bias=False)
