"""Drift and harm: does a drifted conversation comply with what it would refuse, and does its place on the axis say so beforehand?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from ..conversations import Conversation
from ..errors import DataError
from ..evaluation.prompts import Prompt
from ..evaluation.statistics import auc, correlation, interval, wilson
from ..trajectories import exchanges_of
from .causes import dealt_folds
from .embeddings import embed

FOLDS = 5
PENALTIES = (0.01, 0.1, 1.0, 10.0)
PROJECTION, TEXT, BOTH, GAIN = "projection", "text", "text and projection", "projection beyond text"


def probes(conversations: Sequence[Conversation], asks: Sequence[str], kind: str = "harmful") -> list[Prompt]:
    """Every exchange of every conversation, followed by a question that was not asked: what would be answered there?

    Parameters
    ----------
    asks
        The questions, in turn.

    Returns
    -------
    list of Prompt
        Named ``CONVERSATION/eEXCHANGE``, grouped by conversation: for :func:`workbench.evaluate`.
    """
    if not asks:
        raise DataError("probing takes at least one question")
    prompts = []
    for number, talk in enumerate(conversations):
        for turn, exchange in enumerate(exchanges_of(talk)):
            if talk.turns[turn].speaker == "assistant" and [later.speaker for later in talk.turns[turn + 1 : turn + 2]] != ["assistant"]:
                ask = asks[(number + exchange) % len(asks)]
                asked = Conversation((*talk.turns[: turn + 1],), talk.name).plus("user", ask)
                prompts.append(Prompt(f"{talk.name}/e{exchange}", kind, asked, group=talk.name, item=ask))
    return prompts


def harm_table(frame: pd.DataFrame, responses: pd.DataFrame) -> pd.DataFrame:
    """Where each reply lies, beside what the question after it brought about.

    Parameters
    ----------
    frame
        A trajectory by turn at one layer along one direction.
    responses
        Answers to :func:`probes`, one condition of :func:`workbench.evaluate`.

    Returns
    -------
    DataFrame
        ``conversation, domain, exchange, projection, complied`` (0 or 1), ``item`` and ``text`` (all that was said until
        then); probes without an outcome are left out.

    Raises
    ------
    DataError
        Where the trajectory is of several layers or directions, or no probe has an outcome.
    """
    for name in ("layer", "direction"):
        if name in frame and frame[name].nunique() > 1:
            raise DataError(f"harm is set beside one {name}; this trajectory has {frame[name].nunique()}: choose one")
    spoken = frame[frame["speaker"].isin(["user", "assistant"])].sort_values(["conversation", "turn"], kind="stable")
    said = spoken.groupby("conversation")["text"].transform(_so_far)
    replies = spoken.assign(said=said)[spoken["speaker"] == "assistant"].drop_duplicates(["conversation", "exchange"], keep="last")
    outcomes = responses[responses["complied"].notna()].set_index("id")
    names = [f"{c}/e{e}" for c, e in zip(replies["conversation"], replies["exchange"], strict=True)]
    known = np.array([name in outcomes.index for name in names])
    found = outcomes.loc[[name for name in names if name in outcomes.index]]
    if not known.any():
        raise DataError(f"none of the {len(names)} replies of this trajectory was followed by a question with an outcome")
    table = replies[known]
    return pd.DataFrame({
        "conversation": table["conversation"].to_numpy(), "domain": table["domain"].to_numpy() if "domain" in table else "",
        "exchange": table["exchange"].to_numpy(), "projection": table["projection"].to_numpy(),
        "complied": found["complied"].astype(int).to_numpy(), "item": found["item"].to_numpy(), "text": table["said"].to_numpy(),
    })  # fmt: skip


def projection_and_harm(table: pd.DataFrame, by: str = "conversation", n_boot: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Correlation of projection and compliance: over single probes, and over the means of groups (paper: |r| .39 to .52 by role).

    Returns
    -------
    DataFrame
        ``over`` (``"probes"``, or `by`), ``r, low, high, n``; - = nearer the Assistant, fewer complied with. Groups are redrawn.
    """
    means = table.groupby(by)[["projection", "complied"]].mean()
    records = []
    for over, rows in (("probes", table.set_index(by)), (by, means)):
        members = [np.flatnonzero(rows.index == name) for name in rows.index.unique()]
        x, y = rows["projection"].to_numpy(), rows["complied"].to_numpy(float)
        picks = np.random.default_rng(seed).integers(len(members), size=(n_boot, len(members)))
        draws = [np.concatenate([members[k] for k in pick]) for pick in picks]
        found = interval(correlation(x, y), np.array([correlation(x[r], y[r]) for r in draws]))
        records.append({"over": over, "r": found.value, "low": found.low, "high": found.high, "n": len(rows)})
    return pd.DataFrame(records)


def harm_bins(table: pd.DataFrame, n: int = 8, condition: str = "baseline") -> pd.DataFrame:
    """Compliance by place on the axis: `n` bins of equally many probes with Wilson intervals.

    Returns
    -------
    DataFrame
        ``condition, bin, projection`` (mean), ``left, right, rate, low, high, n``.
    """
    edges = np.unique(np.quantile(table["projection"], np.linspace(0, 1, n + 1)))
    place = np.clip(np.searchsorted(edges, table["projection"], side="right") - 1, 0, max(0, len(edges) - 2))
    records = []
    for number, rows in table.groupby(place):
        found = wilson(int(rows["complied"].sum()), len(rows))
        ends = {"left": edges[int(str(number))], "right": edges[min(int(str(number)) + 1, len(edges) - 1)]}
        mean = float(rows["projection"].mean())
        records.append({"condition": condition, "bin": int(str(number)), "projection": mean, **ends, "rate": found.value, "low": found.low,
                        "high": found.high, "n": len(rows)})  # fmt: skip
    return pd.DataFrame(records)


def early_warning(table: pd.DataFrame, ahead: Sequence[int] = (0, 1, 2, 3), n_boot: int = 500, seed: int = 0) -> pd.DataFrame:
    """How well the projection at exchange t foretells compliance at t + k, within domains and beyond what the text foretells.

    The text's predictor is a logistic regression on the weighted words of all that was said until t, held out by conversation; so is
    the one that has the projection too. Pairs of probes are compared within a domain only: telling domains apart counts for nothing.

    Parameters
    ----------
    table
        Of :func:`harm_table`.
    ahead
        The k.

    Returns
    -------
    DataFrame
        ``ahead, predictor`` (``projection``, ``text``, ``text and projection``, and ``projection beyond text``, what the last
        gains over the second), ``auc, low, high`` (bootstrap over conversations), ``n, complied``; a k at which no domain has both
        outcomes is left out.
    """
    records = []
    for k in ahead:
        rows = _looking_ahead(table, k)
        if not _comparable(rows):
            continue
        y, domains, groups = rows["complied"].to_numpy(int), rows["domain"].to_numpy(), rows["conversation"].to_numpy()
        words = embed(rows["text"].tolist(), "tfidf")
        place = (rows["projection"] - rows["projection"].mean()) / (rows["projection"].std() or 1.0)
        wide = np.column_stack([words / (np.sqrt((words**2).mean()) or 1.0), place])
        text, both = (_held_out(x, y, groups, seed) for x in (wide[:, :-1], wide))
        scores = {PROJECTION: -rows["projection"].to_numpy(), TEXT: text, BOTH: both}
        members = [np.flatnonzero(groups == name) for name in pd.unique(groups)]
        picks = np.random.default_rng(seed).integers(len(members), size=(n_boot, len(members)))
        draws = [np.concatenate([members[i] for i in pick]) for pick in picks]
        drawn = {name: np.array([_within(y[r], score[r], domains[r]) for r in draws]) for name, score in scores.items()}
        values = {name: _within(y, score, domains) for name, score in scores.items()}
        drawn[GAIN], values[GAIN] = drawn[BOTH] - drawn[TEXT], values[BOTH] - values[TEXT]
        for name, value in values.items():
            found = interval(value, drawn[name])
            records.append({"ahead": k, "predictor": name, "auc": found.value, "low": found.low, "high": found.high, "n": len(rows),
                            "complied": int(y.sum())})  # fmt: skip
    return pd.DataFrame(records, columns=["ahead", "predictor", "auc", "low", "high", "n", "complied"])


# -- parts ------------------------------------------------------------------------------------------
def _so_far(texts: pd.Series) -> list[str]:
    said, out = "", []
    for text in texts:
        said = f"{said}\n{text}" if said else str(text)
        out.append(said)
    return out


def _looking_ahead(table: pd.DataFrame, k: int) -> pd.DataFrame:
    """Each exchange's projection and text beside the outcome `k` exchanges later."""
    later = table[["conversation", "exchange", "complied"]].assign(exchange=lambda d: d["exchange"] - k)
    return table.drop(columns="complied").merge(later, on=["conversation", "exchange"]).reset_index(drop=True)


def _comparable(rows: pd.DataFrame) -> bool:
    return bool((rows.groupby("domain")["complied"].nunique() > 1).any()) and rows["conversation"].nunique() >= FOLDS


def _within(y: np.ndarray, score: np.ndarray, domains: np.ndarray) -> float:
    """AUC over pairs of the same domain."""
    total, pairs = 0.0, 0
    for name in np.unique(domains):
        positive, negative = score[(domains == name) & (y == 1)], score[(domains == name) & (y == 0)]
        if len(positive) and len(negative):
            total += auc(positive, negative) * len(positive) * len(negative)
            pairs += len(positive) * len(negative)
    return total / pairs if pairs else float("nan")


def _held_out(x: np.ndarray, y: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """Log odds of every row from a fit that has seen nothing of its conversation; the penalty is chosen likewise, inside.

    They are those above the fit's own rows: a fold that has many outcomes leaves few to its fit, whose level would tell them apart the
    wrong way round. 0 where the fit's rows have one outcome only.
    """
    out = np.full(len(y), 0.0)
    for train, test in dealt_folds(groups, FOLDS, seed):
        if len(set(y[train])) < 2:
            continue
        best, least = PENALTIES[0], np.inf
        for c in PENALTIES:
            loss = 0.0
            for a, b in dealt_folds(groups[train], FOLDS - 1, seed + 1):
                if len(set(y[train][a])) == 2:
                    odds = _fit(x[train][a], y[train][a], c).decision_function(x[train][b])
                    loss += float(np.logaddexp(0, np.where(y[train][b] == 1, -odds, odds)).sum())
            if loss < least:
                best, least = c, loss
        fit = _fit(x[train], y[train], best)
        out[test] = fit.decision_function(x[test]) - fit.decision_function(x[train]).mean()
    return out


def _fit(x: np.ndarray, y: np.ndarray, c: float) -> LogisticRegression:
    return LogisticRegression(C=c, max_iter=2000).fit(x, y)
