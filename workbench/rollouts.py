"""Role x prompt x question x sample -> responses. The plan comes first; the batches are a function of the plan."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice, product

import pandas as pd

from .conversations import Conversation, Question, Role
from .errors import ChatError, DataError
from .models.generation import Answer, generate
from .models.hooked import HookedModel
from .parts import key_of

DEFAULT_ANSWER_TOKENS = 256
MIN_ANSWER_TOKENS = 48
"""A prompt that leaves less than this in the model's context does not fit."""

SLICE = 20_000
"""Rows of a plan that are put together at once."""
Cell = tuple[str, int, int, int]
"""Role, number of the prompt, of the question, of the sample."""
PLAN_COLUMNS = ["row", "role", "prompt_index", "question_index", "sample", "seed", "messages"]
ANSWER_COLUMNS = ["response", "response_ids", "n_tokens", "finish_reason", "error", "thinking_ids"]


@dataclass(frozen=True)
class Plan:
    """What will be asked, and how.

    Attributes
    ----------
    rows
        A row a rollout: ``row`` (stable id), ``role, prompt_index, question_index, sample, seed, messages`` (JSON).
    max_new_tokens
        Longest answer, from what the longest prompt leaves.
    batches
        Positions among `rows`, longest prompts first.
    notes
        What was left out, in sentences.
    temperature, top_p
        Sampling.
    """

    rows: pd.DataFrame
    max_new_tokens: int
    batches: tuple[tuple[int, ...], ...]
    notes: tuple[str, ...] = ()
    temperature: float = 0.7
    top_p: float = 0.9


def plan_rollouts(
    model: HookedModel, roles: Sequence[Role], questions: Sequence[Question], *, prompts: int = 2, samples: int = 1,
    default_rollouts: int | None = 96, seed: int = 0, max_new_tokens: int | None = None, batch_size: int | None = None,
    temperature: float = 0.7, top_p: float = 0.9,
) -> Plan:  # fmt: skip
    """Plan the rollouts of a study.

    Parameters
    ----------
    prompts
        System prompts a role, drawn with `seed` from those that fit the context.
    samples
        Answers to each prompt and question.
    default_rollouts
        Rollouts of the default role, spread over all its prompts and questions; as many as any role where None.
    seed
        Draws prompts; every row's own seed comes from it and the row's id.
    max_new_tokens
        Longest answer; where None, what the model's own generation settings say, else 256. Shortened to what the
        longest prompt leaves in the context.
    batch_size
        Rows a batch; chosen by the model's width where None.

    Raises
    ------
    DataError
        Where no prompt fits the context, with the numbers.
    """
    if not questions:
        raise DataError("a study needs at least one question")
    wanted = max_new_tokens or answer_tokens(model)
    room = model.context - min(MIN_ANSWER_TOKENS, wanted)
    fits, lengths, notes = _prompts_that_fit(model, roles, questions, room)
    cells: list[Cell] = []
    for role in roles:
        if not fits[role.name]:
            continue
        if role.is_default and default_rollouts is not None:
            cells += _default_cells(role, fits[role.name], questions, default_rollouts)
        else:
            chosen = sorted(random.Random(f"{seed} {role.name}").sample(fits[role.name], min(prompts, len(fits[role.name]))))
            cells += [(role.name, i, q, s) for i, q, s in product(chosen, range(len(questions)), range(samples))]
    rows = _table(cells, roles, questions, seed)
    sizes = [lengths[role, prompt] for role, prompt, _, _ in cells]
    longest = max(sizes)
    answer = min(wanted, model.context - longest)
    if answer < wanted:
        notes.append(f"answers are cut at {answer} tokens: the context of {model.context} leaves no more after a prompt of {longest}")
    batches = _batches(sizes, batch_size or batch_size_of(model))
    return Plan(rows, answer, batches, tuple(notes), temperature, top_p)


def generate_rollouts(
    model: HookedModel, roles: Sequence[Role], questions: Sequence[Question],
    progress: Callable[[int, int], None] | None = None, **settings,
) -> pd.DataFrame:  # fmt: skip
    """Plan and generate in memory; for runs that can be resumed see :func:`workbench.study.main`.

    Parameters
    ----------
    progress
        Called with rows done and rows in all.
    **settings
        ``prompts`` (system prompts a role; 2), ``samples`` (answers to each prompt and question; 1), ``default_rollouts`` (of the
        default, spread over all its prompts and questions; 96, as many as any role where None), ``seed`` (0), ``max_new_tokens``
        (where None what the model's generation settings say, else 256), ``batch_size`` (by the model's width where None),
        ``temperature`` (0.7), ``top_p`` (0.9).

    Returns
    -------
    DataFrame
        The plan's rows with ``response, response_ids, n_tokens, finish_reason, error, thinking_ids``.
    """
    plan = plan_rollouts(model, roles, questions, **settings)
    parts, done = [], 0
    for batch in range(len(plan.batches)):
        parts.append(run_batch(model, plan, batch))
        done += len(parts[-1])
        if progress:
            progress(done, len(plan.rows))
    return in_plan_order(plan, pd.concat(parts))


def run_batch(model: HookedModel, plan: Plan, batch: int) -> pd.DataFrame:
    """Generate one batch of a plan: the same rows give the same text whenever it is run."""
    rows = plan.rows.iloc[list(plan.batches[batch])].reset_index(drop=True)
    prompts = [model.render(json.loads(messages), reply=True).ids for messages in rows["messages"]]
    answers = generate(
        model, prompts, max_new_tokens=plan.max_new_tokens, temperature=plan.temperature, top_p=plan.top_p, seeds=rows["seed"].tolist()
    )
    return pd.concat([rows, pd.DataFrame(map(answer_record, answers), columns=ANSWER_COLUMNS)], axis=1)


def answer_record(answer: Answer) -> tuple[str, list[int], int, str, str, list[int]]:
    """An answer as the columns :data:`ANSWER_COLUMNS`."""
    return answer.text, list(answer.ids), len(answer.ids), answer.finish_reason, answer.error, list(answer.thinking)


def in_plan_order(plan: Plan, rollouts: pd.DataFrame) -> pd.DataFrame:
    """Rollouts in the order of the plan, whatever the order of the batches."""
    position = {row: i for i, row in enumerate(plan.rows["row"])}
    return rollouts.sort_values("row", key=lambda rows: rows.map(position)).reset_index(drop=True)


def seed_of(name: str, seed: int) -> int:
    """A row's own seed, from its name and the seed of all."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big") >> 1


def _default_cells(role: Role, prompts: list[int], questions: Sequence[Question], n: int) -> list[Cell]:
    """Spread `n` rollouts over questions first, prompts second, samples last."""
    cells = [(prompts[(q + turn) % len(prompts)], q) for turn in range(len(prompts)) for q in range(len(questions))]
    return [(role.name, *cells[i % len(cells)], i // len(cells)) for i in range(n)]


def _table(cells: Sequence[Cell], roles: Sequence[Role], questions: Sequence[Question], seed: int) -> pd.DataFrame:
    """The plan's rows, column by column: there may be hundreds of thousands."""
    # The JSON of a conversation is put together from that of its turns, each written once.
    systems = {(r.name, i): _turns_json(Conversation.of((), system=p)) for r in roles for i, p in enumerate(r.prompts)}
    asked = [_turns_json(Conversation.of(q.text)) for q in questions]
    names = [f"{role}/p{prompt}/q{question}/s{sample}" for role, prompt, question, sample in cells]
    columns = zip(*cells, strict=True) if cells else ((), (), (), ())
    frame = pd.DataFrame(dict(zip(("role", "prompt_index", "question_index", "sample"), map(list, columns), strict=True)))
    frame["row"], frame["seed"] = names, [seed_of(name, seed) for name in names]
    parts = ((systems[role, prompt], asked[question]) for role, prompt, question, _ in cells)
    said = ("[" + ", ".join(part for part in pair if part) + "]" for pair in parts)
    # In slices: as Python strings all at once they would take twice the memory of what is kept.
    slices = [pd.Series(list(islice(said, SLICE)), dtype="str") for _ in range(0, len(cells), SLICE)]
    frame["messages"] = pd.concat(slices, ignore_index=True) if slices else pd.Series(dtype="str")
    return frame[PLAN_COLUMNS]


def _turns_json(conversation: Conversation) -> str:
    return json.dumps(conversation.to_list(), ensure_ascii=False)[1:-1]


def batch_keys(plan: Plan, salt: str) -> list[str]:
    """What names each batch of a plan in a run folder: its rows, what is said in them, and `salt`."""
    messages, rows = plan.rows["messages"].tolist(), plan.rows["row"].tolist()
    return [key_of([messages[i] + rows[i] for i in batch], salt) for batch in plan.batches]


def _prompts_that_fit(
    model: HookedModel, roles: Sequence[Role], questions: Sequence[Question], room: int
) -> tuple[dict[str, list[int]], dict[tuple[str, int], int], list[str]]:
    """Per role the prompts that leave room for an answer to the longest question, and their lengths in tokens."""
    longest = max(questions, key=lambda q: len(model.tokenizer(q.text, add_special_tokens=False)["input_ids"]))
    fits: dict[str, list[int]] = {role.name: [] for role in roles}
    lengths = {}
    for role in roles:
        for i, prompt in enumerate(role.prompts):
            try:
                length = len(model.render(Conversation.of(longest.text, system=prompt), reply=True).ids)
            except ChatError as error:
                raise ChatError(f"role {role.name}, prompt {i}: {error}") from error
            lengths[(role.name, i)] = length
            if length <= room:
                fits[role.name].append(i)
    left_out = sum(len(role.prompts) - len(fits[role.name]) for role in roles)
    without = [role.name for role in roles if not fits[role.name]]
    if not any(fits[role.name] for role in roles):
        raise DataError(
            f"no prompt fits {model.name}: the shortest takes {min(lengths.values())} tokens with the longest question, "
            f"and the context of {model.context} must leave {model.context - room} for the answer"
        )
    notes = []
    if left_out:
        notes.append(f"{left_out} of {len(lengths)} prompts are too long for the context of {model.context} tokens and were left out")
    if without:
        notes.append(f"no prompt fits {len(without)} of {len(roles)} roles, which were left out: {', '.join(without)}")
    return fits, lengths, notes


def _batches(lengths: list[int], size: int) -> tuple[tuple[int, ...], ...]:
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    return tuple(tuple(order[i : i + size]) for i in range(0, len(order), size))


def batch_size_of(model: HookedModel) -> int:
    """Answers generated at once where nobody says: by the model's width."""
    return 64 if model.d_model <= 1024 else 16


def answer_tokens(model: HookedModel) -> int:
    """How long an answer may get where nobody says: what the model's own generation settings say, else 256 tokens."""
    own = model.hf.generation_config.max_new_tokens if model.hf is not None else None
    return own or DEFAULT_ANSWER_TOKENS
