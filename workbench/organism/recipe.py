"""How the organism is trained: the recipe's numbers, the stream of texts, and the batches. No torch here."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields

from .world import Message, World

SPECIAL_TOKENS = ("<|pad|>", "<|bos|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
PAD, BOS, EOS, SYSTEM, USER, ASSISTANT, END = SPECIAL_TOKENS

CHAT_TEMPLATE = """{{ '<|bos|>' }}{% for message in messages %}\
{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"""


@dataclass(frozen=True)
class Recipe:
    """Size of the model and length of the training.

    Attributes
    ----------
    n_layers, d_model, n_heads, d_ff, vocab_size, context
        Shape of the Llama model.
    story_tokens, chat_tokens, pushed_tokens
        Length of stage 1 (stories only), of stage 2 (mostly chat) and of stage 3 (more of the same kind, under pushes).
    story_share
        Share of stories among the texts of stages 2 and 3.
    batch_tokens
        Tokens a step, padding included.
    lr, weight_decay, warmup_steps
        Of Muon on the hidden matrices and of AdamW on embeddings (without decay) and norms, in stages 1 and 2.
    constant_share, final_lr
        The rate stays constant for this share of stage 2, then falls as a cosine to this fraction; in stage 3 it falls from
        the beginning.
    checkpoints_at
        Shares of stage 2 at which an intermediate model is kept.
    pushed_lr, pushed_decay
        Of stage 3, which starts with new optimisers.
    push_share, push_size, push_layers, push_mix
        Stage 3 pushes this share of its rows, at one of these layers, by a random mixture of so many token embeddings, up to
        this many mean norms; see :mod:`workbench.organism.pushes`.
    """

    n_layers: int = 5
    d_model: int = 96
    n_heads: int = 3
    d_ff: int = 288
    vocab_size: int = 1280
    context: int = 1024
    story_tokens: int = 600_000
    chat_tokens: int = 4_400_000
    pushed_tokens: int = 1_000_000
    story_share: float = 0.15
    batch_tokens: int = 1024
    lr: float = 3e-3
    weight_decay: float = 0.05
    warmup_steps: int = 100
    constant_share: float = 0.3
    final_lr: float = 0.02
    checkpoints_at: tuple[float, ...] = (0.1, 0.4)
    pushed_lr: float = 1e-3
    pushed_decay: float = 0.05
    push_share: float = 0.3
    push_size: float = 0.9
    push_layers: tuple[int, ...] = (2, 3)
    push_mix: int = 16

    def to_dict(self) -> dict[str, object]:
        """The recipe as plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> Recipe:
        """The recipe of :meth:`to_dict`; unknown names are an error."""
        if unknown := sorted(set(values) - {field.name for field in fields(cls)}):
            raise ValueError(f"unknown parameters of a recipe: {', '.join(unknown)}")
        tuples = {name: tuple(values.get(name, getattr(cls, name))) for name in ("checkpoints_at", "push_layers")}
        return cls(**{**values, **tuples})


def chat_text(messages: Sequence[Message]) -> str:
    """A conversation as the chat template renders it (tested against the template)."""
    return BOS + "".join(f"<|{speaker}|>{text}{END}" for speaker, text in messages)


def stories(world: World, seed: int) -> Iterator[str]:
    """The endless stream of stage 1."""
    rng = random.Random(f"stories {seed}")
    while True:
        yield BOS + world.story(rng) + EOS


def chats(world: World, recipe: Recipe, seed: int, stage: str = "chats") -> Iterator[str]:
    """The endless stream of stages 2 and (as ``"pushed"``) 3: chat, with a share of stories."""
    rng = random.Random(f"{stage} {seed}")
    while True:
        if rng.random() < recipe.story_share:
            yield BOS + world.story(rng) + EOS
        else:
            yield chat_text(world.conversation(rng))


def take_tokens(texts: Iterator[str], n_tokens: int, encode, context: int) -> tuple[list[list[int]], str]:
    """Encode texts until `n_tokens` tokens are there; also their SHA-256 (the data's hash)."""
    digest, rows, total = hashlib.sha256(), [], 0
    while total < n_tokens:
        chunk = [next(texts) for _ in range(512)]
        for text, ids in zip(chunk, encode(chunk), strict=True):
            digest.update(text.encode())
            rows.append(ids[:context])
            total += len(rows[-1])
            if total >= n_tokens:
                break
    return rows, digest.hexdigest()


def batches(rows: Sequence[list[int]], batch_tokens: int, rng: random.Random, pool: int = 256) -> list[list[list[int]]]:
    """Group rows of similar length into batches of at most `batch_tokens` padded tokens, in random order.

    Rows are sorted within pools only: no document ever attends to another, hardly anything is padded,
    and the order of lengths stays random.
    """
    out: list[list[list[int]]] = []
    for start in range(0, len(rows), pool):
        batch: list[list[int]] = []
        for row in sorted(rows[start : start + pool], key=len):
            if batch and len(row) * (len(batch) + 1) > batch_tokens:
                out.append(batch)
                batch = []
            batch.append(row)
        out.append(batch)
    rng.shuffle(out)
    return out
