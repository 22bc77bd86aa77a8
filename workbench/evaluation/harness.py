"""A model of ours inside lm-eval: scored through its own forward pass, and afterwards what it was before."""

from __future__ import annotations

import copy
import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ChatError, DataError
from ..models.chat import TEMPLATE_SETTINGS
from ..models.hooked import HookedModel
from ..models.reasoning import split_reasoning

_Base: Any = object  # lm-eval's HFLM is the second base, in harness_of: it is an extra
LIBRARIES = ("lm_eval", "datasets", "evaluate", "transformers", "huggingface_hub", "httpx")
_NAN = float("nan")


class Through(_Base):
    """lm-eval's Hugging Face model; finished text is scored through :meth:`HookedModel.logits`, which is told the spans."""

    hooked: HookedModel
    truncated: int

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        """Answers without the reasoning before them."""
        return [split_reasoning(answer)[1] for answer in super().generate_until(requests, disable_tqdm)]

    def tok_batch_encode(
        self, strings: list[str], padding_side: str = "left", left_truncate_len: int | None = None, truncation: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Ids and mask; prompts that lose their beginning are counted."""
        ids, mask = super().tok_batch_encode(strings, padding_side, None, truncation)
        room = left_truncate_len or ids.shape[1]
        self.truncated += int((mask.sum(1) > room).sum())
        return ids[:, -room:], mask[:, -room:]

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> Any:
        """The prompt as our own rendering would write it."""
        from jinja2 import TemplateError

        said = list(chat_history)
        if len(said) > 1 and said[0]["role"] == "system" and self.hooked.chat_format.system_handling == "folded":
            said[:2] = [{"role": said[1]["role"], "content": f"{said[0]['content']}\n\n{said[1]['content']}"}]
        end = {"add_generation_prompt": add_generation_prompt, "continue_final_message": not add_generation_prompt}
        try:
            return self.tokenizer.apply_chat_template(said, tokenize=False, **end, **TEMPLATE_SETTINGS)
        except TemplateError as error:
            raise ChatError(f"the chat template of {self.hooked.name} refuses a prompt of this task: {error}") from error

    def _loglikelihood_tokens(self, requests: Any, disable_tqdm: bool = False, override_bs: int | None = None) -> list[tuple[float, bool]]:
        """Each continuation's log-probability, and whether it is the most likely one; equal passes are made once."""
        passes: dict[tuple[tuple[int, ...], int], list[int]] = {}
        for i, (_, context, continuation) in enumerate(requests):
            kept = [*context, *continuation][-(self.max_length + 1) :]
            begin = len(kept) - len(continuation)
            if not 1 <= begin < len(kept):
                raise DataError(f"an answer of {len(continuation)} tokens cannot be scored in a context of {self.max_length}")
            self.truncated += len(kept) < len(context) + len(continuation)
            passes.setdefault((tuple(kept[:-1]), begin), []).append(i)
        order, size = sorted(passes, key=lambda one: (-len(one[0]), one)), override_bs or int(self.batch_size)
        scores: list[tuple[float, bool]] = [(_NAN, False)] * len(requests)
        for start in range(0, len(order), size):
            batch = order[start : start + size]
            ids = torch.tensor([[*ids, *[0] * (len(batch[0][0]) - len(ids))] for ids, _ in batch])
            logits = self.hooked.logits(ids, [(begin, len(ids)) for ids, begin in batch])
            for (ids, begin), row in zip(batch, logits, strict=True):
                likely = row[begin - 1 : len(ids)].float().log_softmax(-1)
                for i in passes[ids, begin]:
                    said = torch.tensor(requests[i][2], device=likely.device)
                    scores[i] = (float(likely.gather(1, said[:, None]).sum()), bool((likely.argmax(-1) == said).all()))
        return scores


def harness_of(model: HookedModel, batch_size: int, chat: bool) -> Through:
    """lm-eval's view of the model, with a tokenizer of its own: lm-eval sets pad tokens and padding sides."""
    from lm_eval.models.huggingface import HFLM

    tokenizer = copy.deepcopy(model.tokenizer)
    if tokenizer.eos_token_id is None and model.stop_ids:
        tokenizer.eos_token_id = model.stop_ids[0]
    if chat:
        tokenizer.chat_template = model.chat_format._source  # in which it is always the same day
    through: Any = type("Through", (Through, HFLM), {})
    harness = through(pretrained=model.hf, backend="causal", tokenizer=tokenizer, batch_size=batch_size, max_length=model.context)
    harness.hooked, harness.truncated = model, 0
    return harness


@contextmanager
def untouched(model: HookedModel) -> Iterator[None]:
    """Put back what lm-eval changes: training mode, tied weights, the state of random generators; and what is done here.

    A checkpoint's ``max_new_tokens`` would overrule the length that a task asks for, and the end of turn of a template
    that was given by hand is unknown to the checkpoint's settings.
    """
    hf, settings = model.hf, model.hf.generation_config
    training = [module for module in hf.modules() if module.training]
    hf.generation_config = copy.deepcopy(settings)
    hf.generation_config.max_new_tokens = None
    hf.generation_config.eos_token_id = list(model.stop_ids) or None
    hf.tie_weights = lambda *args, **kwargs: None
    drawn, drawn_numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            yield
    finally:
        random.setstate(drawn)
        np.random.set_state(drawn_numpy)
        del hf.tie_weights
        hf.generation_config = settings
        for module in training:
            module.training = True


@contextmanager
def quiet() -> Iterator[None]:
    """No chatter and no bars of the libraries."""
    from tqdm import tqdm

    begin, levels = tqdm.__init__, {logger: logger.level for logger in map(logging.getLogger, LIBRARIES)}

    def silent(self: Any, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs | {"disable": True})

    tqdm.__init__ = silent  # type: ignore[method-assign]
    for logger in levels:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        tqdm.__init__ = begin
        for logger, level in levels.items():
            logger.setLevel(level)
