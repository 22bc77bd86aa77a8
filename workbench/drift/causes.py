"""What moves a persona: do a user's words foretell where the next reply lies, beyond what domain and turn alone foretell?

Everything but the figures marked "in sample" is held out: what is foretold belongs to conversations *and* messages that the fit has
not seen, both for the messages' model and for what it is compared with. A conversation's name, a repeated message or the drift that
every conversation of a domain goes through would otherwise pass for an effect of words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from ..errors import DataError
from ..evaluation.statistics import Interval, interval

FOLDS, INNER = 5, 3
ALPHAS = np.logspace(-1, 5, 19)
PERMUTATIONS = 20
BY_MESSAGE, BY_PERSONA, BY_DOMAIN, IN_SAMPLE = "conversation and message", "user persona", "leave one domain out", "in sample"
ALONE, WORDS, GAIN, PERMUTED = "domain and turn", "domain, turn and message", "message beyond domain and turn", "permuted"
Labels = Sequence | np.ndarray | pd.Series
COLUMNS = ["target", "model", "folds", "r2", "low", "high", "n"]


def exchange_table(frame: pd.DataFrame, levels: pd.Series | None = None) -> pd.DataFrame:
    """One row a reply, beside the message it answers.

    Parameters
    ----------
    frame
        A trajectory by turn, at one layer, along one direction, of one condition.
    levels
        Other projections by (conversation, turn), e.g. means over repeated replies; the trajectory's own where None.

    Returns
    -------
    DataFrame
        ``conversation, domain, persona, exchange, message, level`` (projection of the reply) and ``change`` (from the reply before; missing
        for the first).
    """
    for name in ("layer", "direction", "condition"):
        if name in frame and frame[name].nunique() > 1:
            raise DataError(f"causes are sought at one {name}; this trajectory has {frame[name].nunique()}: choose one")
    keys = ["conversation", "exchange"]
    asked = frame[frame["speaker"] == "user"].drop_duplicates(keys, keep="last").set_index(keys)["text"]
    replies = frame[frame["speaker"] == "assistant"].drop_duplicates(keys, keep="last").copy()
    if levels is not None:
        replies["projection"] = [levels.get((c, t), np.nan) for c, t in zip(replies["conversation"], replies["turn"], strict=True)]
        replies = replies[replies["projection"].notna()]
    said = pd.Series([asked.get(key) for key in zip(*(replies[k] for k in keys), strict=True)], index=replies.index, dtype=object)
    table = replies.assign(level=replies["projection"], message=said)
    for name in ("domain", "persona"):
        table[name] = table[name].fillna("") if name in table else ""
    table = table[table["message"].notna()].sort_values(keys, kind="stable")
    before = table.groupby("conversation")[["level", "exchange"]].shift()
    table["change"] = (table["level"] - before["level"]).where(table["exchange"] == before["exchange"] + 1)
    return table[["conversation", "domain", "persona", "exchange", "message", "level", "change"]].reset_index(drop=True)


def ridge_causes(
    table: pd.DataFrame, embeddings: Float[np.ndarray, "row dim"], target: str = "level", *, n_boot: int = 500, seed: int = 0
) -> pd.DataFrame:
    """Ridge from messages to where replies lie, held out in several ways, beside what domain and turn alone foretell.

    Parameters
    ----------
    table
        Of :func:`exchange_table`; rows without the target are left out.
    embeddings
        The messages', row by row.
    target
        ``"level"`` or ``"change"``.

    Returns
    -------
    DataFrame
        ``target, model, folds, r2, low, high, n``. Models: ``domain and turn`` (means of the cells in training), ``domain, turn
        and message`` (a ridge on what the cells leave), ``message beyond domain and turn`` (the difference), ``permuted`` (the same
        with messages exchanged within domains: its interval is the range of chance), ``message`` (a plain ridge, as in the paper).
        Folds: by conversation and message, both unseen; by user persona and message; each domain left out, its messages too (R2
        about that domain's own mean); and in sample. Intervals by bootstrap over conversations. A row that nothing could foretell,
        because whatever else there is to learn from asks the same, counts in no R2 and not in ``n``.

    Raises
    ------
    DataError
        Where there are fewer than twice as many conversations as folds.
    """
    keep = table[target].notna().to_numpy()
    rows, x = table[keep].reset_index(drop=True), np.asarray(embeddings, float)[keep]
    y = rows[target].to_numpy(float)
    if rows["conversation"].nunique() < 2 * FOLDS:
        raise DataError(f"causes take {2 * FOLDS} conversations; there are {rows['conversation'].nunique()}")
    talks = rows["conversation"].to_numpy()
    found = _Scores(target, y, talks, n_boot, seed)
    splits = {BY_MESSAGE: list(crossed_folds(rows["conversation"], rows["message"], FOLDS, seed))}
    if rows["persona"].nunique() >= 2:
        splits[BY_PERSONA] = list(group_folds(rows["persona"], rows["message"], FOLDS, seed))
    cells = (rows["domain"] + "/" + rows["exchange"].astype(str)).to_numpy()
    for name, folds in splits.items():
        alone, both = foretold(x, y, cells, folds, talks)
        found.add(ALONE, name, alone)
        found.add(WORDS, name, both)
        found.gain(GAIN, name, alone, both)
    found.permuted(x, cells, splits[BY_MESSAGE])
    one = np.zeros(len(y))
    found.add("message", BY_MESSAGE, foretold(x, y, one, splits[BY_MESSAGE], talks)[1])
    if rows["domain"].nunique() >= 2:
        folds = list(group_folds(rows["domain"], rows["message"], FOLDS, seed))
        found.add("message", BY_DOMAIN, foretold(x, y, one, folds, talks)[1], within=rows["domain"].to_numpy())
    everything = [(np.arange(len(y)), np.arange(len(y)))]
    found.add("message", IN_SAMPLE, foretold(x, y, one, everything, talks)[1])
    found.add(ALONE, IN_SAMPLE, foretold(x, y, cells, everything, talks)[0])
    return pd.DataFrame(found.records, columns=COLUMNS)


# -- folds ------------------------------------------------------------------------------------------
def crossed_folds(a: Labels, b: Labels, n: int, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(Training rows, test rows): every row is tested once, by a fit that has seen neither its `a` nor its `b`."""
    rng = np.random.default_rng(seed)
    yield from _crossed(_dealt(a, n, rng), _dealt(b, n, rng))


def dealt_folds(groups: Labels, n: int, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(Training rows, test rows) of `n` folds; equal values stay together."""
    fold = _dealt(groups, n, np.random.default_rng(seed))
    for i in range(n):
        train, test = np.flatnonzero(fold != i), np.flatnonzero(fold == i)
        if len(test) and len(train):
            yield train, test


def group_folds(groups: Labels, b: Labels, n: int, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(Training rows, test rows), one group tested at a time, by fits that have seen neither the group nor the `b` of a row."""
    yield from _crossed(np.asarray(groups), _dealt(b, n, np.random.default_rng(seed)))


def _crossed(one: np.ndarray, other: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for i in pd.unique(one):
        for j in pd.unique(other):
            train, test = np.flatnonzero((one != i) & (other != j)), np.flatnonzero((one == i) & (other == j))
            if len(test) and len(train):
                yield train, test


def _dealt(values: Labels, n: int, rng: np.random.Generator) -> np.ndarray:
    """A fold for every row, the same for the same value."""
    codes, unique = pd.factorize(np.asarray(values))
    return rng.permutation(np.arange(len(unique)) % n)[codes]


# -- fits -------------------------------------------------------------------------------------------
def foretold(
    x: np.ndarray, y: np.ndarray, cells: np.ndarray, folds: Sequence[tuple[np.ndarray, np.ndarray]], conversations: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What the cells' means foretell of the test rows, and what they foretell with a ridge on what they leave (NaN: in no test).

    Messages and targets are both taken as distances from their cell's mean in training, so that the ridge gets no credit for cells.
    """
    alone, both = np.full(len(y), np.nan), np.full(len(y), np.nan)
    # The same message has the same vector: messages are recognised by it.
    messages = np.unique(x.round(9), axis=0, return_inverse=True)[1].ravel()
    everything, cells = np.arange(len(y)), np.unique(cells, return_inverse=True)[1]
    # One scale for all: a dimension of a few rare words shall not weigh as much as the others.
    x = x / (np.sqrt(((x - _cell_means(x, cells, everything, everything)[0]) ** 2).mean()) or 1.0)
    for train, test in folds:
        errors = np.zeros(len(ALPHAS))
        # The penalty is chosen as it will be judged: on conversations and messages, and about cells, that its own fit has not seen.
        for one, other in crossed_folds(conversations[train], messages[train], INNER):
            errors += ((_beyond_cells(x, y, cells, train[one], train[other])[1] - y[train[other]]) ** 2).sum(1)
        alone[test], paths = _beyond_cells(x, y, cells, train, test)
        both[test] = paths[len(ALPHAS) - 1 - int(errors[::-1].argmin())]  # the strongest where nothing tells them apart
    return alone, both


def _beyond_cells(x: np.ndarray, y: np.ndarray, cells: np.ndarray, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What cells foretell of the test rows, and [alpha, row] with a ridge on what they leave."""
    y_train, y_test = _cell_means(y[:, None], cells, train, test)
    x_train, x_test = _cell_means(x, cells, train, test)
    return y_test[:, 0], y_test[:, 0] + _paths(x[train] - x_train, y[train] - y_train[:, 0], x[test] - x_test)


def _paths(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Foretold values [alpha, row] for every penalty at once."""
    centre, mean = x.mean(0), y.mean()
    x, y, new = x - centre, y - mean, new - centre
    wide = len(x) < x.shape[1]  # the same fit, from the rows' products with each other
    values, vectors = np.linalg.eigh(x @ x.T if wide else x.T @ x)
    along = vectors.T @ (y if wide else x.T @ y)
    coefficients = along / (np.clip(values, 0, None) + ALPHAS[:, None])
    return mean + coefficients @ ((new @ x.T if wide else new) @ vectors).T


def _cell_means(values: np.ndarray, cells: np.ndarray, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The training mean of every row's cell (a number); of all rows where a cell was not met in training."""
    inside = (cells[train] == np.arange(cells.max() + 1)[:, None]).astype(float)
    counts = inside.sum(1, keepdims=True)
    means = np.where(counts > 0, inside @ values[train] / np.maximum(counts, 1), values[train].mean(0))
    return means[cells[train]], means[cells[test]]


def r_squared(y: np.ndarray, predicted: np.ndarray, about: np.ndarray | float) -> float:
    """Share of the variance of `y` about `about` that is foretold (rows that are not: left out); negative where that foretells better."""
    total, missed = float(((y - about)[~np.isnan(predicted)] ** 2).sum()), float(np.nansum((y - predicted) ** 2))
    return 1.0 - missed / total if total > 0 else float("nan")


@dataclass
class _Scores:
    """Collects R2 with intervals over conversations; the same draws for all, so that differences are paired."""

    target: str
    y: np.ndarray
    conversations: np.ndarray
    n_boot: int
    seed: int

    def __post_init__(self) -> None:
        self.records: list[dict] = []
        rng = np.random.default_rng(self.seed)
        members = [np.flatnonzero(self.conversations == name) for name in pd.unique(self.conversations)]
        picks = rng.integers(len(members), size=(self.n_boot, len(members)))
        self._draws = [np.concatenate([members[k] for k in pick]) for pick in picks]

    def add(self, model: str, folds: str, predicted: np.ndarray, within: np.ndarray | None = None) -> None:
        """R2 about the mean of all, or of each group of `within`."""
        about = np.full(len(self.y), self.y.mean()) if within is None else pd.Series(self.y).groupby(within).transform("mean").to_numpy()
        self._record(model, folds, self._interval(lambda r: r_squared(self.y[r], predicted[r], about[r])), predicted)

    def gain(self, model: str, folds: str, alone: np.ndarray, both: np.ndarray) -> None:
        """What the second adds to the first."""
        mean = self.y.mean()
        found = self._interval(lambda r: r_squared(self.y[r], both[r], mean) - r_squared(self.y[r], alone[r], mean))
        self._record(model, folds, found, both)

    def permuted(self, x: np.ndarray, cells: np.ndarray, folds: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        """The gain when each conversation gets the messages of another of its domain: those of one stay together, as its replies do."""
        rng, mean = np.random.default_rng(self.seed + 1), self.y.mean()
        codes, unique = pd.factorize(self.conversations)
        gains = []
        for _ in range(PERMUTATIONS):
            rank, order = rng.permutation(len(unique))[codes], np.arange(len(self.y))
            for cell in pd.unique(cells):
                rows = np.flatnonzero(cells == cell)
                rows = rows[np.argsort(rank[rows], kind="stable")]
                order[rows] = np.roll(rows, 1)
            alone, both = foretold(x[order], self.y, cells, folds, self.conversations)
            gains.append(r_squared(self.y, both, mean) - r_squared(self.y, alone, mean))
        self._record(PERMUTED, BY_MESSAGE, Interval(float(np.median(gains)), min(gains), max(gains)), both)

    def _interval(self, statistic) -> Interval:
        return interval(statistic(np.arange(len(self.y))), np.array([statistic(rows) for rows in self._draws]))

    def _record(self, model: str, folds: str, found: Interval, predicted: np.ndarray) -> None:
        self.records.append(
            {"target": self.target, "model": model, "folds": folds, "r2": found.value, "low": found.low, "high": found.high,
             "n": int((~np.isnan(predicted)).sum())}
        )  # fmt: skip
