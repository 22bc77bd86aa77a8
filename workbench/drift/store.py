"""Conversations of a drift study as its run folder keeps them."""

from __future__ import annotations

import json

import pandas as pd

from ..conversations import Conversation
from ..store import Run

STEP, BASELINE_NAME, CAPPED, STEERED = "drift", "baseline", "capped", "steered"
KNOWN = ("domain", "persona", "topic", "condition")


def kept_conversations(run: Run, name: str) -> tuple[list[Conversation], pd.DataFrame]:
    """Conversations of a drift study by condition, and their trajectory with texts and what is known of them."""
    parts = run.parts(f"{STEP}/{name}")
    talks = [from_text(text) for i in range(len(parts)) for text in parts.frame(i)["conversation"]]
    frame = pd.concat([parts.frame(i, "turns.parquet") for i in range(len(parts))], ignore_index=True)
    by_name = {talk.name: talk for talk in talks}
    frame["text"] = [by_name[c].turns[t].text for c, t in zip(frame["conversation"], frame["turn"], strict=True)]
    for key in KNOWN:
        frame[key] = frame["conversation"].map({talk.name: talk.about.get(key, "") for talk in talks})
    return talks, frame


def as_text(talk: Conversation) -> str:
    """A conversation as one line of JSON."""
    return json.dumps({"name": talk.name, "about": dict(talk.about), "turns": talk.to_list()}, ensure_ascii=False)


def from_text(text: str) -> Conversation:
    """The conversation of :func:`as_text`."""
    record = json.loads(text)
    return Conversation.of(record["turns"], record["name"], about=record["about"])
