"""What a model's configuration says of its size: no weights are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import ModelError
from .loading import path_of, short_name, why_not

TOKENS_PER_WORD = 1.4
"""Where there is no tokenizer to ask."""


@dataclass(frozen=True)
class Shape:
    """The size of a model.

    Attributes
    ----------
    n_parameters
        All of them, tied ones once.
    n_layers, d_model, context
        Blocks, width of the residual stream, longest text in tokens.
    count
        How many tokens a text has.
    counted
        Whether the model's own tokenizer counts; else words do, times 1.4.
    folder
        Where it lies, where it is a local one.
    """

    name: str
    n_parameters: int
    n_layers: int
    d_model: int
    context: int
    count: Callable[[str], int]
    counted: bool
    folder: Path | None


def shape_of(model: str, *, revision: str | None = None, trust_remote_code: bool = False) -> Shape:
    """Read a model's configuration, and its tokenizer where there is one.

    Raises
    ------
    ModelError
        Where there is no such configuration.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    path = path_of(model)
    options = {"revision": revision, "trust_remote_code": trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(path, **options)
        with torch.device("meta"):
            empty = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise ModelError(why_not(path, error)) from error
    empty.tie_weights()
    text = config.get_text_config()
    tokenizer = _tokenizer(path, options)
    count = (lambda said: len(tokenizer(said, add_special_tokens=False)["input_ids"])) if tokenizer else _words
    return Shape(
        model if path != model else short_name(path), sum(p.numel() for p in empty.parameters()), text.num_hidden_layers,
        text.hidden_size, text.max_position_embeddings, count, tokenizer is not None, Path(path) if Path(path).is_dir() else None,
    )  # fmt: skip


def _words(said: str) -> int:
    return round(TOKENS_PER_WORD * len(said.split()))


def _tokenizer(path: str, options: dict):
    from transformers import AutoTokenizer

    try:
        found = AutoTokenizer.from_pretrained(path, **options)
    except (OSError, ValueError, KeyError, ImportError):
        return None  # a plan can do without: words are counted instead, and the plan says so
    # Where a folder holds a configuration alone, some versions make a tokenizer without a vocabulary.
    return found if found("some words", add_special_tokens=False)["input_ids"] else None
