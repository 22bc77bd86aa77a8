"""Put TransformerLens hook points around a Hugging Face model: thinly, or in full.

A thin bridge binds the blocks only, so attention, MLP and norms stay Hugging Face's own (SDPA, flash
attention, quantised weights), logits and residuals stay bit-identical, and nothing is slower. The full bridge
exposes heads and MLPs, with eager attention.
"""

from __future__ import annotations

from typing import Any

from ..errors import ModelError


def thin_bridge(hf: Any, tokenizer: Any, name: str) -> Any:
    """Wrap `hf` so that each block's input and output are hook points and nothing else changes.

    Raises
    ------
    ModelError
        Where TransformerLens does not know the architecture, or where wrapping changed the attention.
    """
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    attention = hf.config._attn_implementation

    def keep_blocks_only(adapter: Any) -> None:
        block = adapter.component_mapping["blocks"]
        slim = type(block)(name=block.name, config=adapter.cfg, submodules={})
        slim.hook_aliases = {"hook_resid_pre": "hook_in", "hook_resid_post": "hook_out"}
        adapter.component_mapping = {"blocks": slim}
        adapter.cfg.attn_implementation = attention

    bridge = _build(build_bridge_from_module, hf, tokenizer, name, post_adapter_hook=keep_blocks_only)
    if hf.config._attn_implementation != attention:
        raise ModelError(f"wrapping {name} changed its attention from {attention} to {hf.config._attn_implementation}")
    return bridge


def full_bridge(hf: Any, tokenizer: Any, name: str) -> Any:
    """Wrap `hf` with all of TransformerLens' hook points (heads, MLPs, norms); slower, eager attention."""
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    return _build(build_bridge_from_module, hf, tokenizer, name)


def _build(build: Any, hf: Any, tokenizer: Any, name: str, **options: Any) -> Any:
    architecture = (hf.config.architectures or [type(hf).__name__])[0]
    if not getattr(tokenizer, "init_kwargs", {}).get("name_or_path"):
        tokenizer = None  # TransformerLens loads its tokenizer again by path; one made in memory has none. Ours stays in use.
    try:
        bridge = build(hf, architecture, hf_config=hf.config, tokenizer=tokenizer, model_name=name, **options)
    except (ValueError, KeyError, NotImplementedError) as error:
        raise ModelError(f"TransformerLens cannot wrap {name} ({architecture}): {error}") from error
    return bridge.eval()
