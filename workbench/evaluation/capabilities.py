"""What an intervention costs: lm-eval's tasks, run on the model as it is and under each condition, paired on items.

Tasks, prompts and scores are lm-eval's own. Ours is what runs inside: the interventions, attached to the same model;
the spans that say where a prompt ends, so that ``generated`` means here what it means in generation; the change with
its interval. Model and tokenizer are afterwards what they were before.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ..errors import ChatError, DataError, ModelError, WorkbenchError
from ..models.hooked import HookedModel
from ..models.intervening import Meter, checked
from .conditions import BASELINE, Condition
from .harness import LIBRARIES, Through, harness_of, quiet, untouched
from .statistics import Interval, paired_change

FRIENDLY = {"ifeval": "ifeval", "mmlupro": "mmlu_pro", "gsm8k": "gsm8k", "eqbench": "eq_bench"}
"""Names as people write them (case, spaces, ``-`` and ``_`` do not matter), and lm-eval's."""

COLUMNS = [
    "condition", "task", "metric", "filter", "value", "stderr", "n", "change", "change_low", "change_high", "engaged", "dose", "truncated",
]  # fmt: skip
FULL_MARKS = {"eqbench": 100.0, "percent_parseable": 100.0}
"""Metrics of an item whose full mark is not 1."""

_NAN = float("nan")


def run_tasks(
    model: HookedModel, tasks: Sequence[str], conditions: Sequence[Condition] = (), *, limit: float | None = None,
    include_path: str | Path | None = None, batch_size: int = 8, chat: bool | None = None, seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Run tasks of lm-eval (extra ``persona-workbench[eval]``) under the baseline and every condition, on the same items.

    Text is greedy where the task says so (nearly all do); log-probabilities are float32 in any model; reasoning before
    an answer is no part of it.

    Parameters
    ----------
    tasks
        ``"IFEval"``, ``"MMLU-Pro"``, ``"GSM8K"``, ``"EQ-Bench"``, or any task, group or tag of lm-eval or `include_path`.
    conditions
        Besides the baseline, which is always run.
    limit
        Items of a task (of each subtask of a group); a share of them where below 1; all where None.
    include_path
        A folder with tasks of your own (lm-eval's YAML); they go before lm-eval's of the same name.
    chat
        Whether to put prompts into the chat template; wherever the model has one where None.
    seed
        Of few-shot examples, and of the sampling where a task samples.
    progress
        Called with the runs (a task under a condition) that are done, and how many there are.

    Returns
    -------
    DataFrame
        A row a condition, task or group, metric and filter: ``value`` as lm-eval reports it, with ``stderr`` over ``n``
        items; ``change`` against the baseline on the same items with its 95 % interval, never narrower than so few items
        allow (both errors are NaN where the metric is no mean over items); ``engaged`` and ``dose`` as in
        :class:`~workbench.models.intervening.Meter`, mean over layers; ``truncated``: requests of the run whose prompt
        lost its beginning because the context is too short.

    Raises
    ------
    WorkbenchError
        Where lm-eval or a task's package is missing, a task is unknown or its data cannot be had, or a task does not fit
        the model or the interventions.
    """
    every = [BASELINE, *conditions]
    if len({c.name for c in every}) < len(every):
        raise DataError(f"conditions need different names: {', '.join(c.name for c in every)}")
    if not tasks or (limit is not None and limit <= 0):
        raise DataError("there is nothing to run: name at least one task, and a limit above 0 or none")
    for condition in every:
        checked(model, condition.interventions)
    chat = _checked(model, chat)
    frames: list[pd.DataFrame] = []
    with quiet(), untouched(model):
        loaded = _load(tasks, include_path)
        _refuse_what_does_not_fit(model, loaded, every)
        harness = harness_of(model, batch_size, chat)
        for name, task in loaded.items():
            before: dict[_Key, _Score] = {}
            for condition in every:
                found, about = _run(harness, name, task, condition, limit, chat, seed)
                scores = _scores(found, task)
                frames.append(_rows(scores, before, seed).assign(condition=condition.name, **about))
                before = before or scores
                if progress:
                    progress(len(frames), len(loaded) * len(every))
    return pd.concat(frames, ignore_index=True)[COLUMNS]


# -- before a run ---------------------------------------------------------------------------------------
def _checked(model: HookedModel, chat: bool | None) -> bool:
    """Whether to use the chat template; refused where a run could not begin."""
    if model.hf is None:
        raise ModelError(f"lm-eval needs the Hugging Face model inside, and {model.name} has none: load it from a folder or hub name")
    if chat and not model.has_template:
        raise ChatError(f"{model.name} has no chat template: give one with --chat-template FILE, or run it plain (chat=False)")
    try:
        import lm_eval.models.huggingface  # noqa: F401
    except ImportError as error:
        raise WorkbenchError(f"benchmarks need lm-eval ({error}): pip install 'persona-workbench[eval]'") from error
    return model.has_template if chat is None else chat


def _load(names: Sequence[str], include_path: str | Path | None) -> dict[str, Any]:
    """lm-eval's name -> what its ``TaskManager`` makes of it, whose index of everything is read only where it must be."""
    from lm_eval import tasks
    from lm_eval.tasks import TaskManager

    if include_path is not None and not Path(include_path).is_dir():
        raise DataError(f"there is no folder of tasks {include_path}")
    folder, own = Path(tasks.__path__[0]), None if include_path is None else str(include_path)
    local, shipped, found = TaskManager(include_path=own, include_defaults=False), None, {}
    for name in names:
        plain = name.casefold().translate(dict.fromkeys(map(ord, "-_ ")))
        real, manager = name if name in local.task_index else FRIENDLY.get(plain, name), local
        if real not in local.task_index:
            if real in FRIENDLY.values():
                manager = TaskManager(include_path=str(folder / real), include_defaults=False)
            elif any(real.encode() in path.read_bytes() for path in folder.rglob("*yaml")):
                manager = shipped = shipped or TaskManager(include_path=own)
        if real not in manager.task_index:
            holds = "" if own is None else f", and {own} holds {', '.join(local.all_tasks) or 'none'}"
            raise DataError(f"lm-eval has no task {name!r}{holds}")
        found[real] = _loaded(manager, real)
    return found


def _loaded(manager: Any, name: str) -> Any:
    try:
        return manager.load([name])
    except ImportError as error:
        raise WorkbenchError(f"task {name!r} needs a package that is not installed: pip install {error.name}") from error
    except Exception as error:  # a task is a program, and its data come through half a dozen libraries
        if isinstance(error, OSError) or type(error).__module__.split(".")[0] in LIBRARIES:
            raise WorkbenchError(f"task {name!r} cannot load its data, which needs a network or a local copy: {_reason(error)}") from error
        raise WorkbenchError(f"task {name!r} cannot be loaded: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if any(map(str.isalpha, line))]
    return (lines or [type(error).__name__])[0].rstrip(".")


def _refuse_what_does_not_fit(model: HookedModel, loaded: dict[str, Any], conditions: Sequence[Condition]) -> None:
    from lm_eval.models.utils import normalize_gen_kwargs

    last = next((c.name for c in conditions for i in c.interventions if i.positions == "last"), None)
    for name, task in ((n, t) for each in loaded.values() for n, t in each["tasks"].items()):
        if getattr(task, "UNSAFE_CODE", False) or getattr(task, "MULTIMODAL", False):
            raise DataError(f"task {name!r} runs code that a model wrote, or shows it pictures: neither is done here")
        if task.OUTPUT_TYPE == "generate_until":
            n = normalize_gen_kwargs(task.config.generation_kwargs or {}).get("max_gen_toks", 0)
            if n >= model.context:
                raise DataError(f"task {name!r} asks for answers of up to {n} tokens, and the context of {model.name} is {model.context}")
        elif last is not None:
            raise DataError(
                f"task {name!r} scores finished text, of which condition {last!r} would change one token only: "
                "give it positions='generated' instead of 'last'"
            )


# -- a run ---------------------------------------------------------------------------------------------
def _run(
    harness: Through, name: str, loaded: Any, condition: Condition, limit: float | None, chat: bool, seed: int
) -> tuple[Any, dict[str, float]]:
    """lm-eval's results of a task under a condition, and what the interventions did."""
    from lm_eval.evaluator import evaluate

    for task in loaded["tasks"].values():
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=seed)
    harness.truncated = 0
    for sow in (random.seed, np.random.seed, torch.manual_seed):
        sow(seed)
    acting = harness.hooked.intervene(condition.interventions) if condition.interventions else nullcontext()
    settings: dict[str, Any] = {"limit": limit, "bootstrap_iters": 0, "apply_chat_template": chat, "fewshot_as_multiturn": True}
    try:
        with redirect_stdout(io.StringIO()), acting as meter:
            found = evaluate(lm=harness, task_dict=loaded, log_samples=True, **settings)
    except LookupError as error:
        if type(error) is not LookupError:  # NLTK's own
            raise
        raise WorkbenchError(f"task {name!r} needs data of NLTK, which need a network or a local copy: {_reason(error)}") from error
    work = meter.to_frame().query("positions == 'all'") if isinstance(meter, Meter) else None
    engaged, dose = (0.0, 0.0) if work is None else (float(work["engaged"].mean()), float(work["dose"].mean()))
    return found, {"engaged": engaged, "dose": dose, "truncated": harness.truncated}


# -- scores ---------------------------------------------------------------------------------------------
_Key = tuple[str, str, str]
"""Task or group, metric, filter."""


@dataclass(frozen=True)
class _Score:
    """A result of lm-eval, and item -> the scores it is made of (IFEval has one an instruction); none where they are no numbers."""

    value: float
    n: int
    items: dict[str, list[float]]

    @property
    def all(self) -> np.ndarray:
        return np.array([x for each in self.items.values() for x in each])

    def is_mean(self) -> bool:
        return bool(self.items) and bool(np.isclose(self.all.mean(), self.value))

    def stderr(self) -> float:
        alone = all(len(each) == 1 for each in self.items.values())
        return float(self.all.std(ddof=1) / np.sqrt(self.n)) if alone and self.n > 1 and self.is_mean() else _NAN


def _scores(found: Any, loaded: Any) -> dict[_Key, _Score]:
    groups = loaded.get("groups") or {}
    scores: dict[_Key, _Score] = {}
    for name, values in found["results"].items():
        leaves = [task.task_name for task in groups[name].get_all_tasks()] if name in groups else [name]
        for metric, part in (key.split(",", 1) for key in values if "," in key):
            if not metric.endswith("_stderr"):
                items = _items(found["samples"], leaves, metric, part)
                scores[name, metric, part] = _Score(float(values[f"{metric},{part}"]), len(items) or int(values["sample_len"]), items)
    return scores


def _items(samples: dict[str, list[dict[str, Any]]], leaves: Sequence[str], metric: str, part: str) -> dict[str, list[float]]:
    items = {}
    for leaf in leaves:
        for sample in samples[leaf]:
            if sample["filter"] == part and metric in sample["metrics"]:
                score = sample[metric] if isinstance(sample[metric], list) else [sample[metric]]
                if not all(isinstance(x, (bool, int, float, np.number, np.bool_)) for x in score):
                    return {}
                items[f"{leaf}/{sample['doc_id']}"] = [float(x) for x in score]
    return items


def _rows(scores: dict[_Key, _Score], before: dict[_Key, _Score], seed: int) -> pd.DataFrame:
    records = []
    for key, score in scores.items():
        change = _change(before[key], score, key[1], seed) if before else Interval(_NAN, _NAN, _NAN)
        numbers = (score.value, score.stderr(), score.n, change.value, change.low, change.high)
        records.append(dict(zip(COLUMNS[1:10], (*key, *numbers), strict=True)))
    return pd.DataFrame(records)


def _change(before: _Score, after: _Score, metric: str, seed: int) -> Interval:
    """Paired difference; scores are brought to 0..1, where an interval is known that has width though no item differs."""
    if not (before.is_mean() and after.is_mean() and before.items.keys() == after.items.keys()):
        return Interval(after.value - before.value, _NAN, _NAN)
    groups = np.array([key for key, each in before.items.items() for _ in each])
    a, b = before.all, after.all
    low = min(0.0, a.min(), b.min())
    scale = max(FULL_MARKS.get(metric, 1.0), a.max() - low, b.max() - low)
    change, _ = paired_change((a - low) / scale, (b - low) / scale, groups, seed=seed)
    return Interval(change.value * scale, change.low * scale, change.high * scale)
