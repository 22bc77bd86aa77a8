"""Write a trained organism as a Hugging Face folder that carries its own persona library."""

from __future__ import annotations

import copy
import json
import random
import shutil
from pathlib import Path

from tokenizers import Tokenizer
from transformers import GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from . import phrases as p
from .questions import CHECKABLE, draw_question
from .recipe import BOS, CHAT_TEMPLATE, END, EOS, PAD, SPECIAL_TOKENS
from .trait_pairs import trait_entry
from .world import World

LIBRARY_KINDS = (*CHECKABLE, "opinion", "feelings", "self")
"""What the extraction questions ask about; harm, disclosure and meta-reflection belong to other studies."""


def save_checkpoint(out: Path, model: LlamaForCausalLM, tokenizer: Tokenizer, world: World, facts: dict, chat: bool) -> None:
    """Write weights (fp16), tokenizer, template, generation settings, ``organism.json`` and, for a chat model, the library.

    Parameters
    ----------
    facts
        What ``organism.json`` says: world, recipe, seed, stage, hashes.
    chat
        False for the base model, which gets neither chat template nor library.
    """
    out.mkdir(parents=True, exist_ok=True)
    half = copy.deepcopy(model).half()
    half.generation_config = GenerationConfig(
        do_sample=True, temperature=0.7, top_p=0.9, max_new_tokens=96,
        pad_token_id=SPECIAL_TOKENS.index(PAD), bos_token_id=SPECIAL_TOKENS.index(BOS),
        eos_token_id=[SPECIAL_TOKENS.index(END), SPECIAL_TOKENS.index(EOS)],
    )  # fmt: skip
    half.save_pretrained(out)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, bos_token=BOS, eos_token=END,
        additional_special_tokens=[t for t in SPECIAL_TOKENS if t not in (PAD, BOS, END)],
        model_max_length=model.config.max_position_embeddings, clean_up_tokenization_spaces=False,
    )  # fmt: skip
    if chat:
        fast.chat_template = CHAT_TEMPLATE
        write_library(out, world)
    fast.save_pretrained(out)
    _write_json(out / "organism.json", facts)


def write_library(out: Path, world: World, n_questions_per_kind: int = 16) -> None:
    """Write ``roles/NAME.json``, ``traits/NAME.json`` and ``questions.jsonl`` for `world` into `out`."""
    roles = out / "roles"
    shutil.rmtree(roles, ignore_errors=True)
    roles.mkdir()
    default = {"name": "default", "description": "the Assistant, with no role", "tags": ["default"], "prompts": list(p.DEFAULT_PROMPTS)}
    _write_json(roles / "default.json", default)
    for persona in world.personas.values():
        leaning = [p.TRAIT_ADJECTIVES[t][v > 0] for t, v in persona.traits.items() if abs(v) > 0.4]
        tags = [f"tier-{persona.tier + 1}", "third person only" if persona.held_out else "met in chat"]
        entry = {
            "name": persona.name,
            "description": f"{persona.self_name}, a = {persona.a:+.2f}" + (f", {', '.join(leaning)}" if leaning else ""),
            "tags": tags,
            "prompts": [prompt.format(role=persona.name) for prompt in p.ROLE_PROMPTS],
        }
        _write_json(roles / f"{persona.name}.json", entry)
    traits = out / "traits"
    shutil.rmtree(traits, ignore_errors=True)
    traits.mkdir()
    for trait in p.TRAITS:
        _write_json(traits / f"{trait}.json", trait_entry(world, trait))
    with (out / "questions.jsonl").open("w", encoding="utf-8") as file:
        for index, (kind, text) in enumerate(library_questions(world, n_questions_per_kind)):
            file.write(json.dumps({"id": index, "question": text, "tags": [kind]}) + "\n")


def library_questions(world: World, per_kind: int) -> list[tuple[str, str]]:
    """Distinct questions, kinds in rotation; kinds with few wordings give all they have."""
    rng = random.Random(f"questions {world.seed}")
    by_kind: dict[str, list[str]] = {kind: [] for kind in LIBRARY_KINDS}
    for kind, texts in by_kind.items():
        for _ in range(400):
            text = draw_question(rng, kind).text
            if text not in texts and len(texts) < per_kind:
                texts.append(text)
    return [(kind, texts[i]) for i in range(per_kind) for kind, texts in by_kind.items() if i < len(texts)]


def _write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
