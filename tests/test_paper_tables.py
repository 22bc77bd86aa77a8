"""The table of a paper: what LaTeX and Markdown show is what was measured."""

import re
from types import SimpleNamespace

import pandas as pd
import pytest

from workbench.errors import RunError
from workbench.paper.tables import latex, latex_table, markdown, markdown_table, outcome_frame, table_caption, table_frame

KINDS = {
    "baseline": "baseline", "recommended": "cap", "steering, same dose": "steering", "random 1, same dose": "control",
    "random 2, same dose": "control", "random 1, same share": "control", "prompt axis, same dose": "prompt axis",
}  # fmt: skip
RATES = {"baseline": 0.995, "recommended": 0.2, "steering, same dose": 0.9, "random 1, same dose": 0.8, "random 2, same dose": 0.7,
         "random 1, same share": 0.99, "prompt axis, same dose": 0.5}  # fmt: skip


def make_run(tmp_path, grader: str = "rules", kinds: dict[str, str] | None = None, measures=("compliance", "right", "changed")):
    """A stand-in for a run: its tables and its steps."""
    kinds = KINDS if kinds is None else kinds
    (tmp_path / "tables").mkdir()
    rows = [
        {"condition": c, "measure": m, "rate": rate, "low": rate - 0.1, "high": min(1.0, rate + 0.1), "n": 400 if m != "right" else 40,
         "groups": 9}
        for c, rate in RATES.items() for m in measures if not (m == "right" and kinds.get(c) == "control")
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "tables" / "caps.csv", index=False)
    steps = {"calibrate": {"grader": grader}, "evaluate": {"conditions": kinds}}
    return SimpleNamespace(
        folder=tmp_path, study={"steps": steps}, is_done=lambda step: step in steps, axis=SimpleNamespace(site=SimpleNamespace(model="toy"))
    )


def test_rows_stand_in_the_order_of_a_paper_and_say_what_they_are(tmp_path):
    frame = outcome_frame(make_run(tmp_path))
    assert list(dict.fromkeys(frame["condition"])) == [
        "baseline", "steered, same dose", "capped, recommended", "prompt axis, same dose", "controls, same dose", "controls, same share",
    ]  # fmt: skip
    assert set(frame[frame["condition"] == "controls, same dose"]["member"]) == {"random 1, same dose", "random 2, same dose"}
    assert "changed" not in set(frame["measure"])  # known, but graded measures are there
    assert frame.attrs["model"] == "toy"


def test_of_controls_the_one_is_shown_that_does_most(tmp_path):
    table = table_frame(make_run(tmp_path))
    assert table[table["kind"] == "control"]["condition"].tolist() == ["random 2 (dose)", "random 1 (share)"]
    assert table[table["kind"] == "n"]["condition"].tolist() == ["n", "n, controls"]
    assert table.set_index("condition").loc["capped, recommended", "jailbreaks complied with"] == "20.0 [10.0, 30.0]"
    assert table.set_index("condition").loc["capped, recommended", "right answers"] == "20 [10, 30]"  # n = 40: whole percents
    assert table.set_index("condition").loc["random 2 (dose)", "right answers"] == ""


def test_a_cell_with_an_n_of_its_own_says_so(tmp_path):
    run = make_run(tmp_path)
    path = tmp_path / "tables" / "caps.csv"
    rows = pd.read_csv(path)
    rows.loc[(rows["condition"] == "recommended") & (rows["measure"] == "compliance"), "n"] = 390
    rows.to_csv(path, index=False)
    table = table_frame(run).set_index("condition")
    assert table.loc["capped, recommended", "jailbreaks complied with"] == "20.0 [10.0, 30.0] (n = 390)"
    assert table.loc["n", "jailbreaks complied with"] == "400"


def test_without_a_grader_only_changed_texts_are_shown(tmp_path):
    run = make_run(tmp_path, grader="", measures=("changed",))
    table = table_frame(run)
    assert [c for c in table if c not in ("condition", "kind")] == ["differs from the baseline"]
    assert table[table["kind"] == "control"]["condition"].tolist() == ["random 1 (dose)", "random 1 (share)"]  # changes most
    assert "ungraded" in table_caption(run)


def test_a_run_without_a_cap_says_which_command_makes_one(tmp_path):
    run = make_run(tmp_path)
    run.is_done = lambda step: False
    with pytest.raises(RunError, match=r"has no measured cap: run `workbench calibrate "):
        outcome_frame(run)


def test_the_caption_counts_controls(tmp_path):
    run = make_run(tmp_path)
    assert "Controls (3 in all)" in table_caption(run)
    run.study["steps"]["evaluate"]["conditions"] = {"baseline": "baseline"}
    assert table_caption(run).endswith("No controls were run.")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("5 % of $x_1$ & more", r"5 \% of \$x\_1\$ \& more"),
        ("a\\b{c}", r"a\textbackslash{}b\{c\}"),
        ("x^2 ~ y # z", r"x\textasciicircum{}2 \textasciitilde{} y \# z"),
        ("\u22120.2 \u2192 \u2026", r"$-$0.2 $\rightarrow$ \ldots{}"),
        ("[a] b", "{}[a] b"),
        ("*", "{}*"),
        ("two\nlines", "two lines"),
        ('say "so"', "say ''so''"),
    ],
)
def test_latex_shows_what_was_written(text, shown):
    assert latex(text) == shown


def test_nothing_of_a_name_is_left_that_latex_would_obey():
    said = latex("".join(map(chr, range(33, 127))))
    for command in re.findall(r"\\[a-zA-Z]+\{\}|\\[&%$#_{}]|\$[<>|]\$", said):
        said = said.replace(command, "", 1)
    assert not set(said) & set("&%$#_{}~^\\")


def test_the_latex_table_is_whole(tmp_path):
    run = make_run(tmp_path)
    frame = table_frame(run)
    frame.loc[1, "condition"] = "100 % & \\input{x}"
    text = latex_table(frame, "A caption_with 5 %", "tab:a")
    assert text.count(r"\begin{") == text.count(r"\end{") == 2
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {2}  # a label and two outcomes
    assert len(rows) == 1 + len(frame)
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 2, 1]
    assert r"100 \% \& \textbackslash{}input\{x\}" in text
    assert r"\usepackage" not in text
    depth = re.sub(r"\\[{}]", "", text)
    assert depth.count("{") == depth.count("}")


def test_the_markdown_table_has_a_cell_a_column(tmp_path):
    frame = table_frame(make_run(tmp_path))
    frame.loc[1, "condition"] = "a | b"
    text = markdown_table(frame, "A caption")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {4}
    assert len(rows) == 2 + len(frame)
    assert text.startswith("A caption\n\n|")
    assert markdown("a|b_c*") == r"a\|b\_c\*"
