"""Rollouts whose text comes from a server: journalled row by row, read again with the model's own template, spans proven."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pandas as pd

from .conversations import Conversation
from .errors import ChatError, DataError, EndpointError
from .journal import Journal
from .models.endpoint import Endpoint, Reply
from .models.extraction import rollout_reading
from .models.flight import ask_all
from .models.hooked import HookedModel
from .models.reasoning import is_unfinished, split_reasoning
from .parts import Parts, key_of, parquet_bytes
from .progress import Watch
from .rollouts import ANSWER_COLUMNS, Plan, batch_keys, run_batch

WINDOW = 2048
"""Rows that are asked for before the parts they belong to are written: what a journal holds at most."""
MAX_SEED = 2**31
"""Servers keep seeds in 32 bits."""
GAP = "prompt_gap"
"""Column: how many tokens more the server counted in the prompt than the model's own template makes."""


def windows(numbers: Sequence[int], plan: Plan) -> Iterator[list[int]]:
    """Batches of a plan in groups of about :data:`WINDOW` rows."""
    group: list[int] = []
    for number in numbers:
        group.append(number)
        if sum(len(plan.batches[n]) for n in group) >= WINDOW:
            yield group
            group = []
    if group:
        yield group


def served_rows(
    endpoint: Endpoint, model: HookedModel, plan: Plan, rows: pd.DataFrame, journal: Journal, progress: Callable[[], None]
) -> pd.DataFrame:
    """Ask a server for the answers of rows that the journal does not hold.

    Parameters
    ----------
    model
        Renders and tokenises; its weights are not needed.
    journal
        Keeps every reply when it comes; what it holds is not asked again.
    progress
        Called for every reply.

    Returns
    -------
    DataFrame
        The rows with their answers, as :func:`workbench.rollouts.run_batch` gives them (``response_ids`` empty: a server
        gives text), and ``prompt_gap``.

    Raises
    ------
    EndpointError
        Where rows got no answer; those that did are in the journal.
    """
    settings = {"temperature": plan.temperature, "top_p": plan.top_p, "max_tokens": plan.max_new_tokens}
    salt = json.dumps([endpoint.model, settings])
    keys = {row["row"]: key_of([row["row"], row["messages"]], salt) for row in rows.to_dict("records")}

    def requests() -> Iterator[tuple[str, Callable[[], Reply]]]:
        for row in rows.to_dict("records"):
            if keys[row["row"]] not in journal:
                extra = extra_settings(model)
                messages = sent_messages(model, row["messages"])
                yield row["row"], partial(endpoint.chat, messages, seed=int(row["seed"]) % MAX_SEED, **settings, **extra)

    def take(name: Any, reply: Reply) -> None:
        journal.add(keys[name], {"row": name, **vars(reply)})
        progress()

    failed = ask_all(requests(), take, endpoint.concurrency, endpoint.stopping)
    if failed:
        raise EndpointError(
            f"{len(failed)} of {len(rows)} rows got no answer from {endpoint.url} (the last: {failed[-1][1]}); the others are kept: "
            "run the same command again"
        )
    replies = [Reply(**{k: v for k, v in journal[keys[name]].items() if k != "row"}) for name in rows["row"]]
    answers = [answer_of(model, row, reply) for row, reply in zip(rows.to_dict("records"), replies, strict=True)]
    table = pd.DataFrame(answers, columns=[*ANSWER_COLUMNS, GAP]).astype({GAP: "Int32"})
    return pd.concat([rows.reset_index(drop=True), table], axis=1)


def write_answers(plan: Plan, parts: Parts, model: HookedModel, server: Endpoint | None, watch: Watch, step: str = "rollouts") -> None:
    """Have a plan's rows answered, by a server or by the model itself, as far as they are not there yet.

    Parameters
    ----------
    model
        With a server it only renders and counts.
    step
        What `watch` is told.
    """
    author = f"server {server.model}" if server else model.weights
    keys = batch_keys(plan, f"{author} {plan.temperature} {plan.top_p} {plan.max_new_tokens}")
    missing = parts.missing(keys)
    if server:
        _serve(server, model, plan, parts, keys, missing, partial(watch, step))
        return
    done = len(plan.rows) - sum(len(plan.batches[number]) for number in missing)
    for number in missing:
        frame = run_batch(model, plan, number)
        parts.write(number, keys[number], {"parquet": parquet_bytes(frame)})
        done += len(frame)
        watch(step, done, len(plan.rows))


def _serve(
    endpoint: Endpoint, model: HookedModel, plan: Plan, parts: Parts, keys: Sequence[str], missing: Sequence[int],
    watch: Callable[[int, int], None],
) -> None:  # fmt: skip
    """A row is asked once, whatever is interrupted."""
    journal = Journal(parts.folder / "journal.jsonl")
    done = len(plan.rows) - sum(len(plan.batches[number]) for number in missing) + len(journal)

    def progress() -> None:
        nonlocal done
        done += 1
        watch(done, len(plan.rows))

    for group in windows(missing, plan):
        rows = plan.rows.iloc[[position for number in group for position in plan.batches[number]]]
        answered = served_rows(endpoint, model, plan, rows, journal, progress)
        start = 0
        for number in group:
            end = start + len(plan.batches[number])
            parts.write(number, keys[number], {"parquet": parquet_bytes(answered.iloc[start:end].reset_index(drop=True))})
            start = end
        journal.clear()


def sent_messages(model: HookedModel, messages: str) -> list[dict[str, str]]:
    """A conversation as the protocol has it: what the model's template cannot express (a system role) is put as we render it."""
    return model.chat_format.messages(Conversation.of(json.loads(messages)))


def extra_settings(model: HookedModel) -> dict[str, Any]:
    """What has to be said to the server's template so that it renders as ours: no thinking, where the template knows it."""
    template = str(model.chat_format.template)
    known = {name: value for name, value in model.chat_format.settings.items() if name in template}
    return {"extra_body": {"chat_template_kwargs": known}} if known else {}


def answer_of(model: HookedModel, row: dict[Any, Any], reply: Reply) -> tuple[str, list[int], int, str, str, list[int], int | None]:
    """One row's answer: the text without thinking, its length and place as our own tokenizer finds them, or an error."""
    text, error, n = split_reasoning(reply.text)[1].strip(), reply.error, 0
    if not error and is_unfinished(reply.text):
        text, error = "", "cut off while still thinking"
    elif not error and not text:
        error = "empty answer"
    prompt = len(model.chat_format.prompt_ids(Conversation.of(json.loads(row["messages"]))))
    if not error:
        try:
            reading = rollout_reading(model, {"messages": row["messages"], "response": text})
            n = reading.end - reading.start
            if len(reading.ids) > model.context:
                error = f"prompt and answer have {len(reading.ids)} tokens, and the context is {model.context}"
        except (ChatError, DataError) as problem:
            error = f"the answer's place in the conversation cannot be proven: {problem}"
    gap = None if reply.prompt_tokens is None else reply.prompt_tokens - prompt
    return text, [], n, reply.finish_reason, error, [], gap


def template_note(rollouts: pd.DataFrame) -> list[str]:
    """Whether the server's prompts are as long as ours: a sentence where they are not, or where it does not say."""
    gaps = rollouts[GAP].dropna() if GAP in rollouts else pd.Series(dtype="Int32")
    if GAP not in rollouts:
        return []
    if gaps.empty:
        return ["the server does not say how many tokens its prompts have: whether it renders them as we do is not known"]
    other = gaps[gaps != 0]
    if other.empty:
        return []
    return [
        f"the server counts other prompts than the model's own template makes in {len(other)} of {len(gaps)} rows (by "
        f"{int(other.min()):+d} to {int(other.max()):+d} tokens): its chat template differs, and the answers were given to other text "
        "than is read here"
    ]
