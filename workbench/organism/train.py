"""Train the organism: three stages of plain next-token loss, reproducible from a seed.

Stage 1 reads third-person stories (the base model); stage 2 is mostly chat; stage 3 goes on with it while random pushes
teach the model to stand being steered. Nothing about an axis is put into the weights by hand.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from .muon import Muon
from .pushes import Pusher
from .recipe import SPECIAL_TOKENS, Recipe, batches, chats, stories, take_tokens
from .saving import save_checkpoint
from .world import World

Report = Callable[[str, int, int, float], None]
"""Called after every step: stage, tokens done, tokens of the stage, loss in nats per token."""


def train(
    out: Path,
    world: World | None = None,
    recipe: Recipe | None = None,
    seed: int = 0,
    report: Report = lambda stage, done, total, loss: None,
) -> Path:
    """Train an organism and write its checkpoints below `out`.

    Parameters
    ----------
    out
        Folder for the final model; ``base/`` and ``step-NN/`` (NN = per cent of stage 2) go below it.
    world, recipe
        What is spoken and how it is learned.
    seed
        Seed of texts, order and initial weights. The same seed gives the same weights bit for bit on the same
        machine with one thread; elsewhere, within the bounds of ``workbench organism check``.

    Returns
    -------
    Path
        `out`.
    """
    world, recipe = world or World(), recipe or Recipe()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run = _Run(Path(out), world, recipe, seed, report)
        run.stage("stories", stories(world, seed), recipe.story_tokens, save_at={1.0: "base"})
        marks = {share: f"step-{round(100 * share):02d}" for share in recipe.checkpoints_at}
        run.stage("chat", chats(world, recipe, seed), recipe.chat_tokens, save_at=marks)
        run.new_optimisers()
        run.stage("pushed", chats(world, recipe, seed, "pushed"), recipe.pushed_tokens)
        run.save("")
    finally:
        torch.set_num_threads(threads)
    return Path(out)


def build_tokenizer(world: World, recipe: Recipe, seed: int) -> Tokenizer:
    """A byte-level BPE learned on a sample of both stages; any text encodes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    sample = [stream for _, stream in zip(range(6000), chats(world, recipe, seed), strict=False)]
    sample += [stream for _, stream in zip(range(3000), stories(world, seed), strict=False)]
    plain = [text for s in sample for text in _without_special(s)]
    tokenizer.train_from_iterator(plain, trainer)
    return tokenizer


def _without_special(text: str) -> list[str]:
    for token in SPECIAL_TOKENS:
        text = text.replace(token, "\n")
    return [line for line in text.split("\n") if line]


@dataclass
class _Run:
    """Model, optimisers and the tokens seen so far."""

    out: Path
    world: World
    recipe: Recipe
    seed: int
    report: Report
    data_hashes: dict[str, str] = field(default_factory=dict)
    losses: dict[str, list[float]] = field(default_factory=dict)
    step: int = 0

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        self.tokenizer = build_tokenizer(self.world, self.recipe, self.seed)
        self.model = build_model(self.recipe)
        self.pusher = Pusher(list(self.model.model.layers), self.model.model.embed_tokens.weight, self.recipe, self.seed)
        self.new_optimisers()

    def new_optimisers(self) -> None:
        """Forget momenta, and warm up again."""
        hidden = [w for name, w in self.model.named_parameters() if w.ndim == 2 and "embed" not in name]
        gains = [w for _, w in self.model.named_parameters() if w.ndim == 1]
        embeddings = self.model.model.embed_tokens.weight
        recipe = self.recipe
        groups = [{"params": [embeddings], "decays": False}, {"params": gains}]
        self.optimizers: tuple[torch.optim.Optimizer, ...] = (
            Muon(hidden, lr=recipe.lr, weight_decay=recipe.weight_decay),
            torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.95)),
        )
        self.step = 0

    def stage(self, name: str, texts: Iterable[str], n_tokens: int, save_at: dict[float, str] | None = None) -> None:
        """Train on `n_tokens` of `texts`; keep the model where `save_at` (share of the stage -> folder) says."""
        rows, self.data_hashes[name] = take_tokens(iter(texts), n_tokens, self.encode, self.recipe.context)
        self.set_decay(self.recipe.pushed_decay if name == "pushed" else self.recipe.weight_decay)
        total, done, losses = sum(map(len, rows)), 0, self.losses.setdefault(name, [])
        marks = save_at or {}
        waiting = sorted(marks)
        for batch in batches(rows, self.recipe.batch_tokens, random.Random(f"{name} order {self.seed}")):
            self.set_rate(learning_rate(name, done / total, self.recipe))
            pushed = self.pusher.pushing(len(batch), max(map(len, batch))) if name == "pushed" else nullcontext()
            with pushed:
                losses.append(self.train_step(batch))
            done += sum(map(len, batch))
            self.report(name, done, total, losses[-1])
            while waiting and done >= waiting[0] * total:
                self.save(marks[waiting.pop(0)])

    def encode(self, texts: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self.tokenizer.encode_batch(texts, add_special_tokens=False)]

    def set_rate(self, rate: float) -> None:
        warm = min(1.0, (self.step + 1) / self.recipe.warmup_steps)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * warm

    def set_decay(self, decay: float) -> None:
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["weight_decay"] = decay if group.get("decays", True) else 0.0

    def train_step(self, batch: list[list[int]]) -> float:
        """One step on one batch: right-padded and without a mask, since attention is causal."""
        longest = max(map(len, batch))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in batch])
        labels = torch.tensor([row + [-100] * (longest - len(row)) for row in batch])
        logits = self.model(input_ids=ids, use_cache=False).logits
        loss = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return loss.item()

    def save(self, folder: str) -> None:
        tail = [loss for losses in self.losses.values() for loss in losses][-100:]
        facts = {
            "world": self.world.to_dict(),
            "recipe": self.recipe.to_dict(),
            "seed": self.seed,
            "stage": folder or "final",
            "data_sha256": dict(self.data_hashes),
            "loss_of_last_100_steps": round(sum(tail) / len(tail), 4),
        }
        save_checkpoint(self.out / folder, self.model, self.tokenizer, self.world, facts, chat=folder != "base")


def learning_rate(stage: str, share: float, recipe: Recipe) -> float:
    """The rate after this share of a stage: constant in stories, constant and then a cosine in chat, a cosine under pushes."""
    peak, constant = {
        "stories": (recipe.lr, 1.0),
        "chat": (recipe.lr, recipe.constant_share),
        "pushed": (recipe.pushed_lr, 0.0),
    }[stage]
    if share <= constant:
        return peak
    x = min(1.0, (share - constant) / (1 - constant))
    return peak * (recipe.final_lr + (1 - recipe.final_lr) * (1 + math.cos(math.pi * x)) / 2)


def build_model(recipe: Recipe) -> LlamaForCausalLM:
    """An untrained model of the recipe's shape."""
    config = LlamaConfig(
        vocab_size=recipe.vocab_size,
        hidden_size=recipe.d_model,
        intermediate_size=recipe.d_ff,
        num_hidden_layers=recipe.n_layers,
        num_attention_heads=recipe.n_heads,
        num_key_value_heads=recipe.n_heads,
        max_position_embeddings=recipe.context,
        tie_word_embeddings=True,
        pad_token_id=SPECIAL_TOKENS.index("<|pad|>"),
        bos_token_id=SPECIAL_TOKENS.index("<|bos|>"),
        eos_token_id=SPECIAL_TOKENS.index("<|eos|>"),
    )
    return LlamaForCausalLM(config)
