"""HookedModel: one face for every TransformerLens model, with named hook points for reading and changing it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from ..activations import Site, as_layers
from ..conversations import Conversation
from ..errors import ModelError
from ..interventions import Intervention
from .chat import ChatFormat, Rendered
from .fingerprint import fingerprint, library_versions
from .intervening import Meter, intervening
from .positions import Tracker, show_call

Hook = Callable[[Tensor, Any], Tensor | None]
"""A hook ``fn(tensor, hook)``: returns a new tensor, or None to leave it; ``hook.layer()`` is the block."""


class HookedModel:
    """A TransformerLens model with the chat format, the hook names and the bookkeeping that a study needs.

    Made by :func:`workbench.load_model`; wraps a thin or full ``TransformerBridge``, or any object with the same
    hooks (a 3.x ``HookedTransformer`` included).

    Parameters
    ----------
    tl
        The object with hook points: ``cfg.n_layers``, ``cfg.d_model``, ``hooks(fwd_hooks=...)``.
    tokenizer
        A Hugging Face tokenizer.
    name, revision
        How the model is called, and which version of it was loaded.
    hf
        The Hugging Face model inside; None for objects that hold their own weights.
    chat_template
        Jinja text that replaces the tokenizer's own.
    folder
        Where it was loaded from, if from disk.
    full
        Whether heads and MLPs have hook points too.
    thinking
        Whether the template is asked to let the model think before it answers.
    """

    def __init__(
        self, tl: Any, tokenizer: Any, name: str, *, hf: Any = None, revision: str = "",
        chat_template: str | None = None, folder: str | None = None, full: bool = False, thinking: bool = False,
    ) -> None:  # fmt: skip
        self.tl, self.hf, self.tokenizer = tl, hf, tokenizer
        self.name, self.revision, self.folder, self.full = name, revision, folder, full
        self._chat_template, self._thinking = chat_template, thinking
        self._trackers: list[Tracker] = []

    def __repr__(self) -> str:
        kind = "full" if self.full else "thin"
        return f"HookedModel({self.name!r}, {self.n_layers} layers, d_model {self.d_model}, {self.dtype}, {self.device}, {kind})"

    # -- shape and place ----------------------------------------------------------------------------
    @property
    def n_layers(self) -> int:
        """Number of decoder blocks."""
        return int(self.tl.cfg.n_layers)

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return int(self.tl.cfg.d_model)

    @property
    def layers(self) -> tuple[int, ...]:
        """All blocks, 0-based."""
        return tuple(range(self.n_layers))

    def last(self, n: int) -> tuple[int, ...]:
        """The last `n` blocks."""
        return self.layers[-n:]

    @cached_property
    def _parameters(self) -> list[tuple[str, Tensor]]:
        return list((self.hf if self.hf is not None else self.tl).named_parameters())

    @property
    def device(self) -> torch.device:
        """Where token ids go in."""
        return self._parameters[0][1].device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        return next((w.dtype for _, w in self._parameters if w.is_floating_point()), torch.float32)

    @cached_property
    def n_parameters(self) -> int:
        """Number of weights."""
        return sum(w.numel() for _, w in self._parameters)

    @cached_property
    def context(self) -> int:
        """Longest sequence in tokens, prompt and answer together."""
        config = self.hf.config.get_text_config() if self.hf is not None else self.tl.cfg
        for key in ("max_position_embeddings", "n_positions", "n_ctx"):
            if isinstance(value := getattr(config, key, None), int):
                return value
        return int(min(self.tokenizer.model_max_length, 1_000_000))

    @cached_property
    def chat_format(self) -> ChatFormat:
        """How conversations are rendered; an error where there is no template."""
        return ChatFormat(self.tokenizer, self._chat_template, self.name, self._thinking)

    @property
    def has_template(self) -> bool:
        """Whether conversations can be rendered."""
        return bool(self._chat_template or self.tokenizer.chat_template)

    @cached_property
    def weights(self) -> str:
        """Fingerprint of the weights: names, shapes and a sample of values of every parameter, rounded to bf16."""
        return fingerprint(self._parameters)

    def site(self, layers: Sequence[int] | None = None, pooling: str = "mean over response tokens", chat: bool = True) -> Site:
        """Where activations read from this model come from."""
        return Site(
            model=self.name,
            revision=self.revision,
            weights=self.weights,
            layers=tuple(self.layers if layers is None else as_layers(layers)),
            d_model=self.d_model,
            template=self.chat_format.fingerprint if chat else "",
            system=self.chat_format.system_handling if chat else "none",
            thinking=self._thinking and chat,
            pooling=pooling,
            dtype=str(self.dtype).removeprefix("torch."),
            versions=library_versions(),
        )

    def bare_site(self, layers: Sequence[int] | None = None) -> Site:
        """The site without its template: all that decides whether a direction belongs to this model."""
        chosen = tuple(self.layers if layers is None else as_layers(layers))
        return Site(
            model=self.name, revision=self.revision, weights=self.weights, layers=chosen, d_model=self.d_model, versions=library_versions()
        )

    # -- hook points --------------------------------------------------------------------------------
    @cached_property
    def hook_names(self) -> tuple[str, ...]:
        """All hook points of the wrapped model, plus the residual stream's names in every block."""
        return tuple(dict.fromkeys([*self.tl.hook_dict, *map(self.resid_pre, self.layers), *map(self.resid_post, self.layers)]))

    def resid_pre(self, layer: int) -> str:
        """Name of the residual stream before a block."""
        return f"blocks.{self._checked(layer)}.hook_resid_pre"

    def resid_post(self, layer: int) -> str:
        """Name of the residual stream after a block's MLP: HF's ``hidden_states[layer + 1]``, but for the last."""
        return f"blocks.{self._checked(layer)}.hook_resid_post"

    def attn_out(self, layer: int) -> str:
        """Name of an attention's output; needs the full bridge."""
        return self._inner_hook(layer, "hook_attn_out")

    def mlp_out(self, layer: int) -> str:
        """Name of an MLP's output; needs the full bridge."""
        return self._inner_hook(layer, "hook_mlp_out")

    def _inner_hook(self, layer: int, hook: str) -> str:
        if not self.full:
            raise ModelError(f"{hook} is not exposed by the thin bridge: load the model with full=True")
        return f"blocks.{self._checked(layer)}.{hook}"

    def _checked(self, layer: int) -> int:
        if not 0 <= layer < self.n_layers:
            raise ModelError(f"layer {layer} does not exist: {self.name} has layers 0 to {self.n_layers - 1}")
        return layer

    @contextmanager
    def hooks(self, fwd_hooks: Iterable[tuple[str, Hook]]) -> Iterator[HookedModel]:
        """Attach hooks for the duration of a ``with`` block; they come off whatever happens, and nest."""
        with self.tl.hooks(fwd_hooks=list(fwd_hooks)):
            yield self

    # -- interventions ------------------------------------------------------------------------------
    @contextmanager
    def intervene(self, interventions: Intervention | Sequence[Intervention]) -> Iterator[Meter]:
        """Change the residual stream for the duration of a ``with`` block: generation, forward passes and extraction alike.

        Parameters
        ----------
        interventions
            One, or several that act in this order at each layer. Blocks may be nested: the outer one acts first.

        Yields
        ------
        Meter
            Counts the tokens that are changed, and by how much; ``meter.to_frame()``.

        Raises
        ------
        DataError
            Where a direction was taken from another model (unless its ``transfer=True``), or has another width or layers.
        """
        with intervening(self, interventions) as meter:
            yield meter

    @contextmanager
    def followed_by(self, tracker: Tracker) -> Iterator[None]:
        """Show a tracker the inputs of every forward pass."""
        self._trackers.append(tracker)
        handle = None
        if self.hf is not None:
            handle = self.hf.base_model.register_forward_pre_hook(
                lambda module, args, inputs: show_call(tracker, args, inputs), with_kwargs=True
            )
        try:
            yield
        finally:
            self._trackers.remove(tracker)
            if handle is not None:
                handle.remove()

    @contextmanager
    def _declared(self, ids: Tensor, spans: Sequence[tuple[int, int]] | None, counted_from: int = 0) -> Iterator[None]:
        """Tell the trackers where each row's answer begins and its text ends, for one pass."""
        for tracker in self._trackers:
            tracker.declare(spans, counted_from)
            if self.hf is None:
                tracker.see(ids, None, 0, False)
        try:
            yield
        finally:
            for tracker in self._trackers:
                tracker.declare(None)

    # -- running ------------------------------------------------------------------------------------
    @torch.no_grad()
    def body(self, ids: Int[Tensor, "batch pos"], spans: Sequence[tuple[int, int]] | None = None) -> None:
        """Run the blocks on right-padded ids, hooks firing, without computing logits (causal models need no mask).

        Parameters
        ----------
        spans
            Each row's (position where its answer begins, where its text ends); interventions on prompt or generated
            positions need it.
        """
        ids = ids.to(self.device)
        with self._declared(ids, spans):
            if self.hf is not None:
                self.hf.base_model(input_ids=ids, use_cache=False)
            else:
                self.tl(ids, return_type=None)

    @torch.no_grad()
    def prefill(self, ids: Int[Tensor, "batch pos"], spans: Sequence[tuple[int, int]] | None, chunk: int, cache: Any = None) -> Any:
        """Run the blocks as :meth:`body` does, `chunk` tokens at a time, and return the cache, which the next call can go on from.

        With a cache, `spans` count from the beginning of the whole text.
        """
        if self.hf is None:
            raise ModelError("only Hugging Face models keep a cache: give the whole text to body()")
        ids = ids.to(self.device)
        with self._declared(ids, spans):
            for start in range(0, ids.shape[1], chunk):
                cache = self.hf.base_model(input_ids=ids[:, start : start + chunk], past_key_values=cache, use_cache=True).past_key_values
        return cache

    @torch.no_grad()
    def logits(self, ids: Int[Tensor, "batch pos"], spans: Sequence[tuple[int, int]] | None = None, counted_from: int = 0) -> Tensor:
        """Logits [batch, pos, vocab] of right-padded token ids, hooks firing; `spans` as in :meth:`body`.

        Positions before `counted_from` were run before: they are not counted again by meters.
        """
        ids = ids.to(self.device)
        with self._declared(ids, spans, counted_from):
            return self.hf(input_ids=ids, use_cache=False).logits if self.hf is not None else self.tl(ids)

    @torch.no_grad()
    def run_with_cache(
        self, ids: Int[Tensor, "batch pos"], names: Sequence[str] | None = None, spans: Sequence[tuple[int, int]] | None = None
    ) -> dict[str, Tensor]:
        """Activations at hook points by name; the residual stream after every block where `names` is None."""
        names = list(map(self.resid_post, self.layers)) if names is None else list(names)
        if unknown := [name for name in names if name not in self.hook_names]:
            raise ModelError(f"{self.name} has no hook point {unknown[0]!r}")
        cache: dict[str, Tensor] = {}

        def keep(name: str) -> Hook:
            return lambda tensor, hook: cache.__setitem__(name, tensor.detach().clone())

        with self.hooks([(name, keep(name)) for name in names]):
            self.body(ids, spans)
        return cache

    def render(self, conversation: Conversation | str | Sequence, reply: bool = False) -> Rendered:
        """Render a conversation (or what :meth:`Conversation.of` takes) with the span of every message."""
        conversation = conversation if isinstance(conversation, Conversation) else Conversation.of(conversation)
        return self.chat_format.render(conversation, reply)

    @cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end an answer: those of tokenizer, config and generation settings, and the template's end of turn."""
        found = [self.tokenizer.eos_token_id]
        if self.hf is not None:
            found += [self.hf.config.get_text_config().eos_token_id, self.hf.generation_config.eos_token_id]
        if self.has_template:
            found.append(self.chat_format.end_of_turn)
        flat = [i for item in found for i in (item if isinstance(item, (list, tuple)) else [item])]
        return tuple(sorted({int(i) for i in flat if i is not None}))

    @cached_property
    def special_ids(self) -> tuple[int, ...]:
        """Tokens that are no text: the tokenizer's special ones, and the stop tokens."""
        known = getattr(self.tokenizer, "added_tokens_decoder", {})
        found = {i for i, token in known.items() if getattr(token, "special", False)}
        return tuple(sorted(found | set(getattr(self.tokenizer, "all_special_ids", ())) | set(self.stop_ids)))

    def generate(self, conversations: Sequence[Conversation | str], **settings: Any) -> list[str]:
        """Answers to conversations; see :func:`workbench.models.generation.generate` for the settings."""
        from .generation import generate

        prompts = [self.render(conversation, reply=True).ids for conversation in conversations]
        return [answer.text for answer in generate(self, prompts, **settings)]

    def chat(self, conversation: Conversation | str | Sequence, system: str = "", **settings: Any) -> str:
        """One answer to a message or a conversation.

        Parameters
        ----------
        system
            A system prompt to put first; an error where the conversation has one.
        """
        turns = conversation.turns if isinstance(conversation, Conversation) else conversation
        return self.generate([Conversation.of(turns, system=system)], **settings)[0]
