"""Conversations that somebody else has held: read from files, projected on a run's axis, shown token by token."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from .. import plots
from ..conversations import Conversation
from ..errors import ChatError, DataError
from ..models.extraction import Progress
from ..models.hooked import HookedModel
from ..parts import folder_name, parquet_bytes
from ..store import Run
from ..tensorfile import write_bytes
from ..trajectories import about_columns, trajectory, within
from .store import BASELINE_NAME, CAPPED

SHOWN = 20
"""So many conversations get a page of tokens."""


def given_trajectories(
    run: Run, model: HookedModel, conversations: Sequence[Conversation], *, layer: int | None = None, window: int | None = None,
    capped: bool = False, pages: int = SHOWN, progress: Progress | None = None,
) -> tuple[pd.DataFrame, list[str], Path]:  # fmt: skip
    """Project conversations on a run's axis.

    Writes ``drift/given/turns.parquet`` and ``.csv``, ``trajectories.html``, and a page of tokens for each of the first `pages`.

    Parameters
    ----------
    layer
        0-based block; that of the run's drift study where None, else the recommended one.
    window
        For conversations longer than the context; without it such a one is left out and named.
    capped
        Read them again under the run's recommended cap: rows with the condition ``"capped"``, and the column ``after`` (what leaves
        the layer).

    Returns
    -------
    (DataFrame, list of str, Path)
        The trajectory by turn, what was left out and why, and the folder.

    Raises
    ------
    DataError
        Where none of the conversations can be read by this model, or the axis has no such layer.
    """
    usual = int(run.study["steps"]["drift"]["layer"]) if run.is_done("drift") else run.recommended_layer
    layer = usual if layer is None else layer
    axis = run.axis.at(layer)
    band, token_band = (_band(run, name, layer) for name in ("drift_band", "drift_band_tokens"))
    ways = {BASELINE_NAME: ()} | ({CAPPED: (run.caps["recommended"],)} if capped else {})
    frames, tokens, left_out = [], {}, []
    for done, talk in enumerate(conversations, 1):
        try:
            read = {
                name: trajectory(model, [talk], {"axis": axis}, layers=[layer], by="token", window=window, interventions=acting)
                for name, acting in ways.items()
            }
        except (ChatError, DataError) as error:
            left_out.append(str(error) if talk.name in str(error) else f"conversation {talk.name!r}: {error}")
            continue
        for name, by in read.items():
            turns = _turns(by, talk)
            frames.append((turns if band is None else within(turns, band)).assign(condition=name))
        if len(tokens) < pages * len(ways):
            tokens |= {talk.name if name == BASELINE_NAME else f"{talk.name}, {name}": by for name, by in read.items()}
        if progress:
            progress(done, len(conversations))
    if not frames:
        raise DataError(f"none of {len(conversations)} conversations can be read: {left_out[0]}")
    frame = pd.concat(frames, ignore_index=True)
    folder = _write(run, frame, tokens, band, token_band)
    return frame, left_out, folder


def _turns(tokens: pd.DataFrame, talk: Conversation) -> pd.DataFrame:
    """A trajectory by turn from one by token: means over each message."""
    keys = ["conversation", "turn", "exchange", "speaker", "layer", "direction"]
    known = [*about_columns(talk), "window", "cut"]
    values = {"projection": "mean"} | ({"after": "mean"} if "after" in tokens else {}) | {"n_tokens": "sum"} | dict.fromkeys(known, "first")
    frame = tokens.groupby(keys, sort=False, as_index=False).agg(values)
    # A file's own condition is not the one under which it is read here.
    return frame.rename(columns={"condition": "about_condition"}).assign(text=[talk.turns[turn].text for turn in frame["turn"]])


def _band(run: Run, name: str, layer: int) -> pd.DataFrame | None:
    path = run.folder / "tables" / f"{name}.csv"
    band = pd.read_csv(path).query("layer == @layer") if run.is_done("drift") and path.exists() else pd.DataFrame()
    return None if band.empty else band


def _write(
    run: Run, frame: pd.DataFrame, tokens: dict[str, pd.DataFrame], band: pd.DataFrame | None, token_band: pd.DataFrame | None
) -> Path:
    folder = run.folder / "drift" / "given"
    for page in folder.glob("*.html"):
        page.unlink()  # of other files, read before
    write_bytes(folder / "turns.parquet", parquet_bytes(frame))
    write_bytes(folder / "turns.csv", frame.to_csv(index=False, lineterminator="\n").encode())
    if (frame["speaker"] == "assistant").any():
        frame.attrs |= {"model": run.axis.site.model}
        plots.save(plots.trajectory(frame, band), folder / "trajectories.html")
    for name, by in tokens.items():
        write_bytes(folder / f"{folder_name(name)}.html", plots.token_map(by, token_band, title=name).encode())
    return folder


def in_words(frame: pd.DataFrame, most: int = 12) -> str:
    """A line a conversation and condition: where its first and last replies lie, and how many replies lie outside the band."""
    lines = []
    spoken = frame[frame["speaker"] == "assistant"]
    for (talk, condition), rows in spoken.groupby(["conversation", "condition"], sort=False):
        name = talk if condition == BASELINE_NAME else f"{talk}, {condition}"
        place = rows["projection"] if condition == BASELINE_NAME else rows["after"]  # a cap is seen in what leaves the layer
        first, last = place.iloc[0], place.iloc[-1]
        seen = (
            f", {int((~rows['inside'].dropna().astype(bool)).sum())} of {len(rows)} replies outside the default band"
            if "inside" in rows
            else ""
        )
        cut = f", {int(rows['cut'].sum())} cut by a window" if rows["cut"].any() else ""
        lines.append(f"{name}: {len(rows)} replies, from {first:+.2f} to {last:+.2f} ({last - first:+.2f}){seen}{cut}")
    more = [f"... and {len(lines) - most} more"] if len(lines) > most else []
    return "\n".join([*lines[:most], *more])
