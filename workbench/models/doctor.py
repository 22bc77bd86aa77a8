"""Look a model over before hours are spent on it: each check is one line with what was found."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..conversations import Conversation
from ..errors import WorkbenchError
from .extraction import Reading, pooled
from .hooked import HookedModel

PREVIEW = Conversation.of([
    ("system", "You are a lighthouse keeper."), ("user", "Who are you?"), ("assistant", "I keep the light."),
    ("user", "I keep the light."), ("assistant", "So do I."),
])  # fmt: skip
"""Repeats a text on purpose: a span that is searched for finds the wrong one."""


@dataclass(frozen=True)
class Check:
    """One check: name, ``"ok"``, ``"note"`` or ``"fail"``, and what was found."""

    name: str
    outcome: str
    finding: str


def examine(model: HookedModel) -> list[Check]:
    """All checks, in the order in which they would hurt; one that fails does not stop the others."""
    checks = [Check("model", "ok", repr(model))]
    for name, check in _CHECKS.items():
        try:
            outcome, finding = check(model)
        except WorkbenchError as error:
            outcome, finding = "fail", str(error)
        checks.append(Check(name, outcome, finding))
    return checks


def _sample(model: HookedModel) -> tuple[int, ...]:
    """Some token ids: the preview, or plain text where there is no template."""
    if model.has_template:
        return model.render(PREVIEW).ids
    return tuple(model.tokenizer(" ".join(turn.text for turn in PREVIEW.turns))["input_ids"])


def _template(model: HookedModel) -> tuple[str, str]:
    handling = model.chat_format.system_handling
    text = "the template has a system role" if handling == "native" else "no system role: prompts go into the first user message"
    return ("ok" if handling == "native" else "note"), f"{text}; fingerprint {model.chat_format.fingerprint}"


def _spans(model: HookedModel) -> tuple[str, str]:
    rendered = model.render(PREVIEW)
    shown = []
    for span in rendered.spans:
        decoded = model.tokenizer.decode(rendered.ids[slice(*span.tokens)])
        if decoded.strip() != PREVIEW.turns[span.message].text:
            return "fail", f"the tokens of message {span.message} read {decoded!r}, not {PREVIEW.turns[span.message].text!r}"
        shown.append(f"{span.speaker}[{span.tokens[0]}:{span.tokens[1]}]")
    return "ok", f"every message proven in {len(rendered.ids)} tokens: {' '.join(shown)}"


def _stops(model: HookedModel) -> tuple[str, str]:
    end = model.chat_format.end_of_turn
    tokens = ", ".join(repr(model.tokenizer.decode([i])) for i in model.stop_ids)
    if end is None:
        return "note", f"the template ends a turn with no special token; answers end at {tokens} or at their length"
    return "ok", f"answers end at {tokens}"


def _hooks(model: HookedModel) -> tuple[str, str]:
    """With hooks on, the model must compute what it computes without; and HF's hidden states must be ours."""
    ids = torch.tensor([_sample(model)])
    if model.hf is None:
        return "note", "an object with hooks of its own: nothing to compare with"
    with torch.no_grad():
        plain = model.hf(input_ids=ids.to(model.device), use_cache=False, output_hidden_states=True)
    cache = model.run_with_cache(ids)
    hidden = plain.hidden_states
    worst = max(float((cache[model.resid_post(n)] - hidden[n + 1]).abs().max()) for n in model.layers[:-1]) if model.n_layers > 1 else 0.0
    logits = float((model.logits(ids) - plain.logits).abs().max())
    ok = worst <= 1e-3 * float(hidden[-2].abs().max()) and logits <= 1e-3 * float(plain.logits.abs().max())
    return ("ok" if ok else "fail"), f"against Hugging Face: logits differ by {logits:.1e}, residuals by {worst:.1e}"


def _padding(model: HookedModel) -> tuple[str, str]:
    """A row read in a padded batch must give what it gives alone."""
    ids = _sample(model)
    long, short = Reading(ids, 0, len(ids)), Reading(ids[: len(ids) // 2], 0, len(ids) // 2)
    together = next(means for _, means in pooled(model, [long, short], model.layers))[1]
    alone = next(means for _, means in pooled(model, [short], model.layers))[0]
    worst = float((together - alone).abs().max() / alone.abs().max())
    return (
        "ok" if worst < (1e-4 if model.dtype == torch.float32 else 0.05) else "fail"
    ), f"padded against single: relative difference {worst:.1e}"


def _context(model: HookedModel) -> tuple[str, str]:
    return ("ok" if model.context >= 512 else "note"), f"{model.context} tokens for prompt and answer together"


def _cost(model: HookedModel) -> tuple[str, str]:
    size = sum(w.numel() * w.element_size() for _, w in model._parameters)
    ids = torch.tensor([_sample(model)])
    model.body(ids)
    start = time.perf_counter()
    for _ in range(3):
        model.body(ids)
    rate = 3 * ids.numel() / (time.perf_counter() - start)
    row = model.n_layers * model.d_model * 4
    return "ok", (
        f"{model.n_parameters / 1e6:,.1f} M parameters, {size / 1e9:.2f} GB; reads about {rate:,.0f} tokens/s in a batch of one; "
        f"a response's vectors take {row / 1e3:,.1f} kB"
    )


_CHECKS: dict[str, Callable[[HookedModel], tuple[str, str]]] = {
    "chat template": _template,
    "message spans": _spans,
    "stop tokens": _stops,
    "hooks": _hooks,
    "padding": _padding,
    "context": _context,
    "size and speed": _cost,
}
