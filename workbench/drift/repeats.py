"""The same point of a conversation answered again: what of a projection belongs to the conversation, and what to one reply's words."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from ..conversations import Conversation
from ..directions import Direction
from ..errors import DataError
from ..frames import need
from ..models.extraction import extract
from ..models.generation import generate
from ..models.hooked import HookedModel
from ..rollouts import ANSWER_COLUMNS, answer_record, answer_tokens, batch_size_of, seed_of
from ..trajectories import exchanges_of


def repeated_replies(
    model: HookedModel, conversations: Sequence[Conversation], axis: Direction, *, n: int = 4, layers: Sequence[int] | None = None,
    seed: int = 0, max_new_tokens: int | None = None, batch_size: int | None = None, progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Answer every question of conversations again, their history left as it is, and project the replies.

    Parameters
    ----------
    n
        Replies to each question.

    Returns
    -------
    DataFrame
        ``conversation, turn, exchange, sample`` (from 0), ``layer, projection``; replies that came to nothing are left out.
    """
    if len({talk.name for talk in conversations}) < len(conversations):
        raise DataError("two conversations have the same name: their replies could not be told apart")
    # A greeting before the first question answers nothing.
    points = [
        (talk, turn) for talk in conversations for turn, said in enumerate(talk.turns)
        if said.speaker == "assistant" and exchanges_of(talk)[turn]
    ]  # fmt: skip
    rows = [
        {"row": f"{talk.name}/t{turn}/r{sample}", "conversation": talk.name, "turn": turn, "exchange": exchanges_of(talk)[turn],
         "sample": sample, "messages": Conversation(talk.turns[:turn])}
        for talk, turn in points for sample in range(n)
    ]  # fmt: skip
    if not rows:
        raise DataError("there is no answer in these conversations that could be given again")
    answered = _answered(model, rows, seed, max_new_tokens, batch_size, progress)
    if all(row["error"] for row in answered):
        raise DataError(
            "no question of these conversations could be answered again: none leaves room for an answer, or all came to nothing"
        )
    frame = pd.DataFrame(answered)
    acts = extract(model, frame, layers)
    scores = acts.project(axis)
    keys = ["conversation", "turn", "exchange", "sample"]
    parts = [acts.rows[keys].assign(layer=int(str(layer)), projection=scores[layer].to_numpy()) for layer in scores]
    return pd.concat(parts, ignore_index=True)


def repeatability(repeats: pd.DataFrame) -> pd.DataFrame:
    """Share of the variance of single replies' projections that belongs to the point in the conversation (intraclass correlation).

    Returns
    -------
    DataFrame
        ``layer, icc, points, replies``: 1 where every reply to the same question lies alike, 0 where the conversation says
        nothing. Layers can be chosen by it for reading single replies, without knowing what should be found.
    """
    need(repeats, ["conversation", "turn", "layer", "projection"], "repeatability")
    records = []
    for layer, frame in repeats.groupby("layer"):
        groups = frame.groupby(["conversation", "turn"])["projection"]
        sizes, means = groups.size(), groups.mean()
        usable = sizes >= 2
        if usable.sum() < 2:
            raise DataError("repeatability takes two points of conversations with two replies each")
        inner = float((groups.var(ddof=1)[usable] * (sizes[usable] - 1)).sum() / (sizes[usable] - 1).sum())
        # Of the variance of the means, every one counted alike, this much is that of single replies.
        noise = inner * float((1 / sizes[usable]).mean())
        outer = max(0.0, float(means[usable].var(ddof=1)) - noise)
        icc = outer / (outer + inner) if outer + inner > 0 else float("nan")
        records.append({"layer": layer, "icc": icc, "points": int(usable.sum()), "replies": int(sizes[usable].sum())})
    return pd.DataFrame(records)


def _answered(
    model: HookedModel, rows: list[dict], seed: int, max_new_tokens: int | None, batch_size: int | None,
    progress: Callable[[int, int], None] | None,
) -> list[dict]:  # fmt: skip
    n_new, size = max_new_tokens or answer_tokens(model), batch_size or batch_size_of(model)
    prompts = [model.render(row["messages"], reply=True).ids for row in rows]
    # Longest first: rows of one batch are alike in length.
    order = [i for i in np.argsort([-len(ids) for ids in prompts], kind="stable") if len(prompts[i]) + n_new <= model.context]
    out: list[dict] = []
    for start in range(0, len(order), size):
        part = order[start : start + size]
        answers = generate(
            model, [prompts[i] for i in part], max_new_tokens=n_new, seeds=[seed_of(f"again/{rows[i]['row']}", seed) for i in part]
        )
        for i, answer in zip(part, answers, strict=True):
            said = json.dumps(rows[i]["messages"].to_list(), ensure_ascii=False)
            out.append(rows[i] | {"messages": said} | dict(zip(ANSWER_COLUMNS, answer_record(answer), strict=True)))
        if progress:
            progress(min(start + size, len(order)), len(order))
    return out
