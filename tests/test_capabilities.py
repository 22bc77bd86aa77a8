import copy
import json
import random
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

pytest.importorskip("lm_eval")

from workbench.directions import Direction
from workbench.errors import ChatError, DataError, ModelError, WorkbenchError
from workbench.evaluation.capabilities import COLUMNS, _change, _Score, run_tasks
from workbench.evaluation.conditions import Condition
from workbench.evaluation.harness import harness_of, untouched
from workbench.evaluation.statistics import paired_change
from workbench.interventions import Ablate, Add
from workbench.models.generation import generate
from workbench.models.hooked import HookedModel
from workbench.models.loading import load_model

ROOT = Path(__file__).parent.parent
TASKS = Path("tests/lm_eval_task")
BOTH = ["organism_facts", "organism_choices"]
QUESTIONS = ["What is the capital of France?", "What do you think of the moon?"]


@pytest.fixture(scope="module", autouse=True)
def _offline(tmp_path_factory):
    """Data files are named from the repository's root; their cache is no one else's; and nobody is called."""
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("datasets")))
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        patch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        yield


def random_direction(model: HookedModel, seed: int = 0) -> Direction:
    values = torch.randn(model.n_layers, model.d_model, generator=torch.Generator().manual_seed(seed))
    return Direction(values, model.bare_site(), "random", "anywhere")


def conditions(model: HookedModel) -> list[Condition]:
    v = random_direction(model)
    return [Condition("huge", (Add(v, 30.0),)), Condition("ablated", (Ablate(v, 50.0),)), Condition("none", (Add(v, 0.0),))]


def state(model: HookedModel) -> dict:
    """All that lm-eval might change on a model, its tokenizer and the process."""
    hf, tokenizer = model.hf, model.tokenizer
    backend, modules = tokenizer.backend_tokenizer, list(hf.modules())
    return {
        "text": model.generate(QUESTIONS, max_new_tokens=12, seeds=5),
        "settings": (id(hf.generation_config), hf.generation_config.to_json_string(), hf.config.to_json_string()),
        "model": (sorted(vars(hf)), [(w.data_ptr(), w.dtype) for w in hf.parameters()], [m.training for m in modules]),
        "hooks": (sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules), len(model._trackers)),
        "tokenizer": (tokenizer.pad_token_id, tokenizer.padding_side, len(tokenizer), tokenizer.chat_template),
        "backend": (backend.padding, backend.truncation),
        "chance": (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()),
    }


@pytest.fixture(scope="module")
def around(organism) -> tuple[pd.DataFrame, dict, dict, list]:
    """A run, the model before and after it, and the calls of progress."""
    calls: list[tuple[int, int]] = []
    before = state(organism)
    frame = run_tasks(organism, BOTH, conditions(organism), include_path=TASKS, progress=lambda *now: calls.append(now))
    return frame, before, state(organism), calls


@pytest.fixture(scope="module")
def frame(around) -> pd.DataFrame:
    return around[0].set_index(["task", "condition"])


def test_the_table(around):
    frame, _, _, calls = around
    assert list(frame) == COLUMNS
    assert list(frame["condition"]) == ["baseline", "huge", "ablated", "none"] * 2
    assert list(frame["task"].unique()) == BOTH
    assert set(zip(frame["metric"], frame["filter"], strict=True)) == {("exact_match", "word"), ("acc", "none")}
    assert (frame["n"] == 12).all()
    assert (frame["truncated"] == 0).all()
    assert calls == [(i, 8) for i in range(1, 9)]


@pytest.mark.parametrize("task", BOTH)
def test_the_organism_knows_its_world_until_it_is_pushed_out_of_it(frame, task):
    baseline = frame.loc[(task, "baseline"), "value"]
    assert baseline > 0.9
    for name in ("huge", "ablated"):
        row = frame.loc[(task, name)]
        assert row["value"] <= 0.5
        assert row["change"] == pytest.approx(row["value"] - baseline)
        assert -1 <= row["change_low"] <= row["change"] < 0
        assert row["change_high"] < 0


@pytest.mark.parametrize("task", BOTH)
def test_nothing_changes_at_strength_0_and_twelve_items_do_not_prove_that(frame, task):
    row = frame.loc[(task, "none")]
    assert row["value"] == frame.loc[(task, "baseline"), "value"]
    assert row["change"] == 0
    assert row["change_low"] < -0.1
    assert row["change_high"] > 0.1


@pytest.mark.parametrize("task", BOTH)
def test_what_acts_is_metered(frame, task):
    rows = frame.loc[task]
    assert rows["engaged"].to_dict() == {"baseline": 0, "huge": 1, "ablated": 1, "none": 0}
    assert rows.loc[["huge", "ablated"], "dose"].min() > 1
    assert rows.loc[["baseline", "none"], "dose"].max() == 0


def test_the_baseline_is_compared_with_nothing(frame):
    assert frame.xs("baseline", level="condition")[["change", "change_low", "change_high"]].isna().all(axis=None)


def test_the_model_is_put_back(around):
    _, before, after, _ = around
    for name in before:
        assert before[name] == after[name], name


def test_it_is_put_back_after_an_error_and_keeps_its_training_mode():
    model = load_model("organism")
    model.hf.train()
    before = state(model)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_tasks(model, ["organism_choices"], conditions(model), include_path=TASKS, limit=1, progress=stop)
    assert model.hf.training
    assert state(model) == before


def test_random_numbers_go_on_where_they_were(organism):
    drawn = random.getstate()  # by itself: the type checker of our tests draws too
    with untouched(organism):
        random.seed(0)
    assert random.getstate() == drawn


def test_weights_that_are_not_tied_stay_so():
    model = load_model("organism")
    model.hf.lm_head.weight = torch.nn.Parameter(-model.hf.lm_head.weight.detach())
    apart = model.hf.lm_head.weight.data_ptr()
    worse = run_tasks(model, ["organism_choices"], include_path=TASKS)
    assert model.hf.lm_head.weight.data_ptr() == apart
    assert worse["value"].item() < 0.5


def test_libraries_keep_quiet(organism, capfd, caplog):
    run_tasks(organism, BOTH, include_path=TASKS, limit=2)
    said = capfd.readouterr()
    assert said.out + said.err == ""
    assert not caplog.records


# -- like lm-eval's own --------------------------------------------------------------------------------
def instances(pairs: list[tuple[str, str]]) -> list:
    from lm_eval.api.instance import Instance

    return [Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=0) for pair in pairs]


@pytest.fixture(scope="module")
def plain(organism):
    from lm_eval.models.huggingface import HFLM

    with untouched(organism):
        # With its cache of logits on, lm-eval 0.4.13 reads "the" + " dog says moo" and "the dog says" + " moo" at the same place.
        return HFLM(pretrained=organism.hf, tokenizer=copy.deepcopy(organism.tokenizer), batch_size=4, logits_cache=False)


PAIRS = [
    ("What colour is the sky?", " the sky is blue"), ("What colour is the sky?", " the sky is red"), ("the sky is", " blue"),
    ("the sky is", " red"), ("the sky is", " green"), ("", "the dog says woof"), ("the dog says ", "moo"), ("the", " dog says moo"),
]  # fmt: skip


def test_finished_text_is_scored_as_by_lm_eval(organism, plain):
    expected = plain.loglikelihood(instances(PAIRS), disable_tqdm=True)
    for size in (1, 3, 8):
        found = harness_of(organism, size, chat=False).loglikelihood(instances(PAIRS), disable_tqdm=True)
        assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]
        assert np.allclose([x for x, _ in found], [x for x, _ in expected], atol=1e-4)


def test_text_without_a_prompt_is_scored_as_by_lm_eval(organism, plain):
    rolling = instances([("the sky is blue. " * 3,), ("the dog says woof.",)])
    found = harness_of(organism, 8, chat=False).loglikelihood_rolling(rolling, disable_tqdm=True)
    assert np.allclose(found, plain.loglikelihood_rolling(rolling, disable_tqdm=True), atol=1e-4)


@pytest.mark.parametrize("chat", [True, False])
def test_a_run_without_conditions_is_lm_evals(organism, plain, chat):
    from lm_eval.evaluator import evaluate
    from lm_eval.tasks import TaskManager

    loaded = TaskManager(include_path=str(TASKS), include_defaults=False).load(list(BOTH))
    with untouched(organism):
        expected = evaluate(lm=plain, task_dict=loaded, apply_chat_template=chat, fewshot_as_multiturn=True, limit=6)["results"]
    found = run_tasks(organism, BOTH, include_path=TASKS, chat=chat, limit=6, batch_size=4).set_index("task")
    for task, key in (("organism_facts", "exact_match,word"), ("organism_choices", "acc,none")):
        assert found.loc[task, "value"] == expected[task][key]
        assert found.loc[task, "stderr"] == pytest.approx(expected[task][key.replace(",", "_stderr,")])
    assert (found.loc["organism_facts", "value"] == 1) == chat  # it answers users only


def test_two_runs_are_equal(organism):
    settings = {"include_path": TASKS, "limit": 2}
    once, again = (run_tasks(organism, BOTH, conditions(organism)[:1], **settings) for _ in range(2))
    pd.testing.assert_frame_equal(once, again)


# -- positions ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("positions", ["generated", "prompt", "content"])
def test_positions_mean_in_scoring_what_they_mean_in_writing(organism, positions):
    """What a changed model writes greedily is, token by token, what it finds likeliest under the same change, and only there."""
    acting = Add(random_direction(organism, seed=3), 1.5, positions=positions)
    other = Add(acting.direction, 1.5, positions="generated" if positions == "prompt" else "prompt")
    prompts = [list(organism.render(q, reply=True).ids) for q in QUESTIONS]
    with organism.intervene(acting):
        answers = generate(organism, prompts, max_new_tokens=24, temperature=0)
    requests = [(None, prompt, list(answer.ids)) for prompt, answer in zip(prompts, answers, strict=True)]
    harness = harness_of(organism, 8, chat=False)

    def likeliest(*interventions) -> list[bool]:
        with organism.intervene(interventions):
            return [greedy for _, greedy in harness._loglikelihood_tokens(requests)]

    assert likeliest(acting) == [True, True]
    assert likeliest() == [False, False]
    assert likeliest(other) == [False, False]


def test_positions_after_the_prompt_are_a_share_of_all(organism):
    v = random_direction(organism)
    parts = [Condition(name, (Add(v, 1e-4, positions=name),)) for name in ("generated", "prompt")]
    rows = run_tasks(organism, BOTH, parts, include_path=TASKS, limit=3).set_index(["task", "condition"])["engaged"]
    for task in BOTH:
        assert 0.1 < rows[task, "prompt"] < 0.9
        assert rows[task, "generated"] + rows[task, "prompt"] == pytest.approx(1)


def test_padding_is_not_counted(organism):
    harness, requests = harness_of(organism, 8, chat=False), [(None, [5, 6], [7]), (None, [5, 6, 7, 8, 9], [10, 11])]
    with organism.intervene(Add(random_direction(organism), 1.0)) as meter:
        harness._loglikelihood_tokens(requests)
    counted = meter.to_frame()
    assert set(counted.loc[counted["positions"] == "all", "tokens"]) == {2 + 6}


def test_the_last_position_is_refused_where_text_is_scored(organism):
    last = [Condition("end", (Add(random_direction(organism), 1.0, positions="last"),))]
    with pytest.raises(DataError, match=r"organism_choices.*'end'.*positions='generated'"):
        run_tasks(organism, ["organism_choices"], last, include_path=TASKS)
    assert len(run_tasks(organism, ["organism_facts"], last, include_path=TASKS, limit=1)) == 2


# -- lengths and templates ------------------------------------------------------------------------------
def test_a_task_has_the_length_it_asks_for_whatever_the_checkpoint_says():
    model = load_model("organism")
    model.hf.generation_config.max_new_tokens, model.hf.generation_config.eos_token_id = 2, None
    with untouched(model):
        assert model.hf.generation_config.eos_token_id == list(model.stop_ids)
    assert run_tasks(model, ["organism_facts"], include_path=TASKS, limit=2)["value"].item() == 1
    assert model.hf.generation_config.max_new_tokens == 2


def test_prompts_that_are_cut_are_counted():
    model = load_model("organism")
    model.__dict__["context"] = 34
    rows = run_tasks(model, ["organism_facts"], include_path=TASKS)  # 32 new tokens leave 2 for the question
    assert rows["truncated"].item() == 12
    model.__dict__["context"] = 18
    facts = [json.loads(line) for line in (TASKS / "facts.jsonl").read_text().splitlines()]
    lengths = [len(model.render([("user", f["question"]), ("assistant", c)]).ids) - 1 for f in facts for c in f["choices"]]
    too_long = sum(n > 18 + 1 for n in lengths)  # the last token is not read, and lengths are without the end of turn
    assert 0 < too_long < 48
    assert run_tasks(model, ["organism_choices"], include_path=TASKS)["truncated"].item() == too_long
    with pytest.raises(DataError, match="up to 32 tokens, and the context of organism is 18"):
        run_tasks(model, ["organism_facts"], include_path=TASKS)


NO_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def test_a_template_without_system_role_gets_it_in_the_users_turn():
    harness = harness_of(load_model("organism", chat_template=NO_SYSTEM), 8, chat=True)
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert harness.apply_chat_template(said) == "<|user|>Be brief.\n\nHi<|end|><|assistant|>"
    with pytest.raises(ChatError, match="no system"):
        harness.apply_chat_template(said[:1])


def test_a_base_model_runs_plain():
    model = load_model("organism")
    model.tokenizer.chat_template = model.tokenizer.pad_token = model.tokenizer.eos_token = None
    rows = run_tasks(model, BOTH, include_path=TASKS, limit=3, batch_size=3).set_index("task")["value"]
    assert rows["organism_choices"] == 1
    assert model.tokenizer.pad_token is model.tokenizer.eos_token is None
    with pytest.raises(ChatError, match="no chat template"):
        run_tasks(model, BOTH, include_path=TASKS, chat=True)


# -- refusals -------------------------------------------------------------------------------------------
def test_unknown_tasks_and_folders(organism, tmp_path):
    with pytest.raises(DataError, match=r"no task 'organism_fax', and .* holds organism_choices, organism_facts"):
        run_tasks(organism, ["organism_fax"], include_path=TASKS)
    with pytest.raises(DataError, match="no folder of tasks"):
        run_tasks(organism, ["organism_facts"], include_path=tmp_path / "none")


@pytest.mark.parametrize("name", ["GSM8K", "EQ-Bench", "mmlu pro"])
def test_a_task_that_cannot_be_downloaded(organism, name):
    with pytest.raises(
        WorkbenchError, match=r"task '(gsm8k|eq_bench|mmlu_pro)' cannot load its data, which needs a network or a local copy"
    ):
        run_tasks(organism, [name])


def test_local_data_that_are_not_there(organism, monkeypatch, tmp_path):
    folder = TASKS.resolve()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WorkbenchError, match=r"organism_facts.*local copy: .*facts\.jsonl"):
        run_tasks(organism, ["organism_facts"], include_path=folder)


def test_a_task_whose_package_is_missing(organism, monkeypatch):
    for name in [name for name in sys.modules if "ifeval" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "langdetect", None)
    with pytest.raises(WorkbenchError, match=r"'ifeval' needs a package .* pip install \w+"):
        run_tasks(organism, ["IFEval"])


def test_what_cannot_begin(organism, monkeypatch):
    with pytest.raises(DataError, match="different names"):
        run_tasks(organism, BOTH, [Condition("baseline")], include_path=TASKS)
    with pytest.raises(DataError, match="nothing to run"):
        run_tasks(organism, [], include_path=TASKS)
    with pytest.raises(ModelError, match="Hugging Face model inside"):
        run_tasks(HookedModel(organism.tl, organism.tokenizer, "weights of its own"), BOTH, include_path=TASKS)
    monkeypatch.setitem(sys.modules, "lm_eval.models.huggingface", None)
    with pytest.raises(WorkbenchError, match=r"pip install 'persona-workbench\[eval\]'"):
        run_tasks(organism, BOTH, include_path=TASKS)


# -- changes --------------------------------------------------------------------------------------------
def score(*items: list[float], value: float | None = None) -> _Score:
    flat = [x for item in items for x in item]
    return _Score(float(np.mean(flat)) if value is None else value, len(items), {str(i): item for i, item in enumerate(items)})


def test_a_change_of_rates_is_the_houses_own():
    a, b = [[1.0], [1.0], [0.0], [1.0]], [[0.0], [1.0], [0.0], [0.0]]
    expected, _ = paired_change(np.ravel(a), np.ravel(b), np.arange(4), seed=3)
    found = _change(score(*a), score(*b), "acc", seed=3)
    assert (found.value, found.low, found.high) == (expected.value, max(-1, expected.low), expected.high)


def test_items_with_several_scores_are_drawn_whole():
    a, b = [[1.0] * 30, [1.0] * 30, [1.0] * 30], [[0.0] * 30, [1.0] * 30, [1.0] * 30]
    found = _change(score(*a), score(*b), "inst_level_strict_acc", seed=0)
    assert found.value == pytest.approx(-1 / 3)
    assert found.low == -1  # all three draws may be the first item
    assert np.isnan(score(*a).stderr())


def test_percentages_are_as_wide_as_percentages():
    same = [[0.0], [100.0], [50.0]]
    found = _change(score(*same), score(*same), "eqbench", seed=0)
    assert found.value == 0
    assert found.low < -30
    nothing = _change(score([0.0], [0.0]), score([0.0], [0.0]), "eqbench", seed=0)
    assert nothing.high > 30
    assert _change(score([-3.0], [-1.0]), score([-5.0], [-2.0]), "loglikelihood", seed=0).value == pytest.approx(-1.5)


def test_what_is_no_mean_has_a_change_but_no_interval():
    found = _change(score([1.0], [0.0], value=0.7), score([1.0], [0.0], value=0.4), "f1", seed=0)
    assert found.value == pytest.approx(-0.3)
    assert np.isnan([found.low, found.high]).all()
    assert np.isnan(score([1.0], [0.0], value=0.7).stderr())


def test_filters_are_kept_apart(organism, tmp_path):
    other = 'filter_list:\n  - name: blind\n    filter:\n      - {function: regex, regex_pattern: "zq(.)"}\n      - function: take_first\n'
    (tmp_path / "two.yaml").write_text((TASKS / "organism_facts.yaml").read_text().replace("filter_list:\n", other))
    rows = run_tasks(organism, ["organism_facts"], conditions(organism)[:1], include_path=tmp_path, limit=2).set_index(
        ["filter", "condition"]
    )
    assert rows["value"].to_dict() == {
        (f, c): float(f == "word" and c == "baseline") for f in ("blind", "word") for c in ("baseline", "huge")
    }
    assert rows["change"].xs("huge", level="condition").to_dict() == {"blind": 0, "word": -1}
    assert rows["change_high"].xs("huge", level="condition")["blind"] > 0.2


def test_a_group_pools_its_tasks(organism, tmp_path):
    text = (TASKS / "organism_choices.yaml").read_text()
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(text.replace("task: organism_choices", f"task: {name}"))
    metrics = "aggregate_metric_list:\n  - metric: acc\n    weight_by_size: true\n"
    (tmp_path / "both.yaml").write_text(f"group: both\ntask: [one, two]\n{metrics}")
    rows = run_tasks(organism, ["both"], conditions(organism)[:1], include_path=tmp_path, limit=5).set_index(["task", "condition"])
    assert rows["n"].to_dict() == {(t, c): 10 if t == "both" else 5 for t in ("one", "two", "both") for c in ("baseline", "huge")}
    changed = rows.xs("huge", level="condition")
    assert changed.loc["both", "change"] == pytest.approx(changed.loc["one", "change"])
    assert changed.loc["both", "change_high"] < 0
    width = changed["change_high"] - changed["change_low"]
    assert width["both"] < width["one"]


# -- real checkpoints -----------------------------------------------------------------------------------
@pytest.mark.parametrize("full", [False, True])
def test_a_real_checkpoint(test_models, full):
    model = load_model(test_models / "tinytalk", full=full)
    before = state(model)
    rows = run_tasks(model, BOTH, conditions(model)[:1], include_path=TASKS, limit=2)
    assert state(model) == before
    assert rows["value"].between(0, 1).all()
    assert list(rows["engaged"]) == [0, 1, 0, 1]
    assert list(rows["n"]) == [2] * 4
