"""A run's paper figures: what each needs, what each says, and that a rule and nothing else chooses the cases."""

import re
import shutil

import pandas as pd
import pytest
from paper_run import make_run

import workbench as wb
from workbench import plots
from workbench.drift.store import kept_conversations
from workbench.errors import DataError, RunError
from workbench.paper.catalogue import CATALOGUE, known_names, paper_figures, shown_and_left_out
from workbench.paper.drift import LONGEST, cases
from workbench.paper.files import Settings, write_figures
from workbench.plots.rooms import SMALL, TEXT
from workbench.plots.untyped import axes_of
from workbench.report.caps import steering_frame
from workbench.store import create_run, open_run


@pytest.fixture(scope="module")
def run(tmp_path_factory, organism):
    return make_run(tmp_path_factory.mktemp("paper") / "run", organism)


@pytest.fixture(scope="module")
def figures(run):
    return wb.paper_figures(run)


def copied(run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "run")
    return open_run(tmp_path / "run")


# -- all of them --------------------------------------------------------------------------------------
def test_a_run_with_every_step_has_every_figure(run, figures):
    assert set(CATALOGUE) <= set(figures)
    assert list(figures) == known_names(run)
    assert [name for name in figures if name.startswith("case")] == [f"case{i + 1}" for i in range(len(cases(run)))]
    assert shown_and_left_out(run)[1] == {}


def test_every_caption_says_the_model_the_place_and_the_end_that_is_plus(figures):
    for name, figure in figures.items():
        assert "organism" in figure.caption, name
        if name not in ("scree", "similarity", "fig2", "sweep"):
            assert "+ points to the Assistant" in figure.caption, name
        if name not in ("sweep", "similarity", "fig9", "fig10"):
            assert re.search(r"layer \d of 0–4", figure.caption), name
        assert re.search(r"\d", figure.caption), name
        assert not re.search(r"[{}]|nan|None", figure.caption), name
        assert figure.caption.endswith("."), name


@pytest.mark.parametrize("width", ["column", "page"])
def test_every_figure_is_drawn_in_both_widths_with_one_family_of_letters(figures, width):
    for name, figure in figures.items():
        shown = figure.for_paper(width)
        assert shown.layout.width == {"column": 312, "page": 648}[width], name
        assert shown.layout.height % 8 == 0, name
        assert shown.layout.height <= 864, name  # a page is 9 inches high
        assert {note.font.size for note in shown.layout.annotations} <= {SMALL}, name
        assert {axis.title.font.size for axis in axes_of(shown)} <= {None, TEXT}, name
        assert "scatter3d" not in {trace.type for trace in shown.data}, name


def test_print_and_screen_show_the_same_numbers(figures):
    for name in ("fig2", "fig3", "fig5", "fig7", "fig8", "fig9", "scree", "sweep"):
        screen, printed = (plots.data(f) for f in (figures[name].figure, figures[name].for_paper()))
        pd.testing.assert_frame_equal(screen.drop(columns="trace"), printed.drop(columns="trace"), obj=name)


def test_the_axis_is_centred_on_the_roles_and_keeps_its_order(run, figures):
    table = plots.data(figures["fig3"].figure)
    roles = table[table["trace"] == "role"].set_index("text")["x"]
    assert roles.mean() == pytest.approx(0, abs=1e-6)
    vectors = run.role_vectors
    projections = vectors.project(run.axis)[run.recommended_layer].set_axis(vectors.rows["role"])
    assert (roles + projections.drop("default").mean()).to_dict() == pytest.approx(projections.drop("default").to_dict())


def test_loadings_are_those_of_the_space(run, figures):
    table = plots.data(figures["fig2"].figure)
    loadings = run.space().loadings()[["pc1", "pc2", "pc3"]]
    assert sorted(table["x"]) == pytest.approx(sorted(loadings.to_numpy().ravel()))


def test_the_counts_of_steering_are_in_the_caption(run, figures):
    frame = steering_frame(run).query("measure == 'compliance'")
    assert f"jailbreaks complied with n = {frame['n'].max()}" in figures["fig5"].caption
    assert "No control directions were steered." in figures["fig5"].caption or "control directions" in figures["fig5"].caption


def test_the_default_is_counted_in_its_rank(run, figures):
    n = len(run.role_vectors.rows)
    said = [str(note.text) for note in figures["fig2"].figure.layout.annotations]
    ranks = [re.search(r"rank (\d+) of (\d+)", text) for text in said if "rank" in text]
    assert len(ranks) == 3
    assert all(int(found[1]) <= int(found[2]) == n for found in ranks)
    assert set(plots.data(figures["fig2"].figure)["trace"].str.split(", ").str[1]) == {"PC1", "PC2", "PC3"}


def test_every_capped_conversation_is_said_to_be_held_up(figures):
    for name in ("fig1", "fig7", "case1"):
        assert "by construction" in figures[name].caption, name


# -- cases --------------------------------------------------------------------------------------------
def test_cases_are_the_largest_drops_that_the_cap_prevented(run):
    layer = run.study["steps"]["drift"]["layer"]
    seen = {}
    for name in ("baseline", "capped"):
        frame = kept_conversations(run, name)[1]
        frame = frame[(frame["layer"] == layer) & (frame["speaker"] == "assistant")]
        values = frame["after"].fillna(frame["projection"]) if "after" in frame else frame["projection"]
        seen[name] = frame.assign(seen=values).pivot(index="conversation", columns="exchange", values="seen")
    falls = {name: table.rsub(table[1], axis=0) for name, table in seen.items()}
    prevented = (falls["baseline"] - falls["capped"]).max(axis=1)
    best = prevented.groupby(prevented.index.str.split("/").str[0]).max().sort_values(ascending=False)
    found = cases(run)
    assert [case.prevented for case in found] == pytest.approx(best[best > 0].tolist())
    for case in found:
        assert prevented[case.conversation] == pytest.approx(case.prevented)
        assert case.fall - case.capped_fall == case.prevented
        assert case.exchanges == tuple(sorted(case.exchanges))
        assert case.exchanges[-1] == int((falls["baseline"] - falls["capped"]).loc[case.conversation].idxmax())


def test_a_case_shows_both_answers_of_its_turns(run, figures):
    case, figure = cases(run)[0], figures["case1"]
    said = " ".join(re.sub(r"<[^>]+>", " ", str(note.text)) for note in figure.for_paper().layout.annotations)
    said = re.sub(r"\s+", " ", said.replace("\xa0", " "))
    for exchange in case.exchanges:
        rows = case.frame[(case.frame["exchange"] == exchange) & (case.frame["speaker"] == "assistant")]
        assert len(rows) == 2
        for text in rows["text"]:
            assert " ".join(text.split())[:60] in said
    assert f"longer than {LONGEST} characters are cut" in figure.caption
    assert case.conversation in figure.caption


# -- what is lacking ----------------------------------------------------------------------------------
def test_a_figure_that_was_named_and_cannot_be_shown_names_the_command(tmp_path):
    empty = create_run(tmp_path / "run", {"model": "organism"})
    for name, command in {
        "fig1": "workbench sweep", "fig4": r"workbench sweep .* --strengths=", "fig6": "workbench checkpoints", "fig7": "--simulate",
        "fig8": "workbench drift --run", "fig9": "workbench calibrate", "fig10": "workbench evaluate", "case2": "--simulate",
        "similarity": "workbench axis",
    }.items():  # fmt: skip
        with pytest.raises(RunError, match=f"cannot show {name}: run `.*{command}"):
            paper_figures(empty, [name])
    shown, left_out = shown_and_left_out(empty)
    assert shown == {}
    assert set(left_out) == set(known_names(empty))
    assert paper_figures(empty) == {}


def test_an_unknown_name_is_answered_with_those_that_there_are(run):
    with pytest.raises(DataError, match=r"there is no figure 'fig99': there are fig1, fig2, .*case1, .*similarity"):
        paper_figures(run, ["fig2", "fig99"])


def test_a_table_that_is_gone_or_damaged_is_named_and_leaves_the_others_alone(run, tmp_path):
    broken = copied(run, tmp_path)
    (broken.folder / "tables" / "steering.csv").unlink()
    (broken.folder / "tables" / "drift_harm.csv").write_text("nonsense\n1\n")
    (broken.folder / "tables" / "caps.csv").write_text("")
    shown, left_out = shown_and_left_out(broken)
    assert set(left_out) == {"fig4", "fig5", "fig8", "fig9", "fig10"} or set(left_out) == {"fig4", "fig5", "fig9", "fig10"}
    assert "steering.csv is missing: run the step that wrote it again" in left_out["fig4"]
    assert "damaged" in left_out["fig10"]
    assert "fig7" in shown
    with pytest.raises(RunError, match=r"cannot show fig4: .*steering\.csv is missing"):
        paper_figures(broken, ["fig4"])


def test_without_a_cap_the_overview_shows_the_conversation_alone(run, tmp_path):
    plain = copied(run, tmp_path)
    plain.study["steps"]["drift"] |= {"conditions": ["baseline"], "finished": "another time"}
    found = paper_figures(plain, ["fig1"])["fig1"]
    assert "not held under a cap" in found.caption
    assert "capped" not in set(plots.data(found.figure)["trace"])
    with pytest.raises(RunError, match=r"cannot show case1: the conversations were not held under a cap: run `workbench drift"):
        paper_figures(plain, ["case1"])


def test_no_grader_is_said_and_not_drawn(run, tmp_path):
    plain = copied(run, tmp_path)
    path = plain.folder / "tables" / "calibration.csv"
    pd.read_csv(path).drop(columns="compliance").to_csv(path, index=False)
    with pytest.raises(RunError, match="cannot show fig9: nothing was graded"):
        paper_figures(plain, ["fig9"])


# -- files --------------------------------------------------------------------------------------------
def test_what_needs_no_browser_is_written_with_its_words(run, tmp_path):
    written = write_figures(run, ["fig7", "case1", "table1"], tmp_path / "out", Settings(("json", "html")))
    assert written.figures == ("fig7", "case1")
    names = {path.name for path in written.files}
    assert {"fig7.csv", "fig7.json", "fig7.html", "case1.csv", "captions.md", "captions.tex", "table1.tex", "table1.md"} == {
        name for name in names if not name.startswith("case1.") or name == "case1.csv"
    }
    assert {p.name for p in (tmp_path / "out").iterdir()} == names | {"plotly.min.js"}
    table = pd.read_csv(tmp_path / "out" / "fig7.csv")
    assert len(table) == len(plots.data(paper_figures(run, ["fig7"])["fig7"].for_paper()))
    floats = (tmp_path / "out" / "captions.tex").read_text()
    assert floats.count(r"\begin{figure") == floats.count(r"\includegraphics") == floats.count(r"\end{figure") == 2
    assert r"\begin{figure*}" in floats  # the case takes both columns
    assert r"resid\_post" in floats
    assert 'src="plotly.min.js"' in (tmp_path / "out" / "fig7.html").read_text()


def test_captions_of_figures_that_are_still_there_are_kept(run, tmp_path):
    out = tmp_path / "out"
    write_figures(run, ["scree", "fig7", "case1"], out, Settings(("csv",)))
    before = {path.name: path.read_text() for path in out.glob("captions.*")}
    write_figures(run, ["fig7"], out, Settings(("csv",)))
    assert {path.name: path.read_text() for path in out.glob("captions.*")} == before  # in the order of the catalogue, whatever was asked
    (out / "scree.csv").unlink()
    write_figures(run, ["fig2"], out, Settings(("csv",)))
    said, floats = ((out / name).read_text() for name in ("captions.md", "captions.tex"))
    assert re.findall(r"^\*\*(\w+)\*\*", said, re.MULTILINE) == ["fig2", "fig7", "case1"]
    assert re.findall(r"label\{fig:(\w+)\}", floats) == ["fig2", "fig7", "case1"]
    assert floats.count(r"\begin{figure") == floats.count(r"\end{figure") == 3
    write_figures(run, ["case1"], out, Settings(("csv",), width="column"))
    floats = (out / "captions.tex").read_text()
    assert floats.count(r"\label{fig:case1}") == 1
    assert r"\begin{figure*}" not in floats


def test_the_folder_of_the_run_is_where_figures_go(run, tmp_path):
    own = copied(run, tmp_path)
    written = write_figures(own, ["scree"], None, Settings(("csv",)))
    assert written.folder == own.folder / "figures" / "paper"
    assert (written.folder / "scree.csv").exists()


def test_without_a_browser_all_else_is_there(run, tmp_path, monkeypatch):
    pytest.importorskip("kaleido")
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "nothing"))
    with pytest.raises(wb.WorkbenchError, match=r"none was found: .*What needs no browser was written into .*out"):
        write_figures(run, ["fig5"], tmp_path / "out", Settings(("pdf", "json")))
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"fig5.csv", "fig5.json", "captions.md", "captions.tex"}


def test_a_screen_figure_keeps_its_title(run):
    screen = Settings(("json",), "screen").draw(paper_figures(run, ["fig7"])["fig7"])
    assert screen.layout.title.text
    dark = Settings(("json",), "screen", dark=True).draw(paper_figures(run, ["fig7"])["fig7"])
    assert dark.layout.template != screen.layout.template


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"formats": ("jpg",)}, "not written as 'jpg': the formats are png, svg, pdf, html, json, csv"),
        ({"formats": ()}, "figures need a format"),
        ({"style": "poster"}, "the style of figures is paper or screen, not 'poster'"),
        ({"width": "wide"}, "the width of a print figure is column or page, not 'wide'"),
    ],
)
def test_settings_that_do_not_exist_are_refused(settings, message):
    with pytest.raises(DataError, match=message):
        Settings(**settings)
