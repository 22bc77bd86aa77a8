"""The linked figure: every layer's numbers are those of its own fit, signs hold together, texts stay texts, and the file stays small."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_activations
from plot_checks import check_themes

from workbench import plots
from workbench.activations import Activations
from workbench.directions import contrast, role_vectors
from workbench.errors import DataError
from workbench.explorer import persona_layers, role_facts
from workbench.persona_space import PersonaSpace
from workbench.plots.explorer_page import explorer_fragment
from workbench.study.main import run_study

ATTACK = "</script><img src=x onerror=alert(1)>"


@pytest.fixture
def vectors(planted):
    return role_vectors(planted[0])


@pytest.fixture
def layers(vectors):
    return persona_layers(vectors, contrast(vectors))


def wide_vectors(n_roles: int, n_layers: int, d_model: int = 32) -> Activations:
    """Roles whose places turn a little from layer to layer, as they do in models."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(n_roles + 1, 1, d_model)) * 3 + rng.normal(size=(n_roles + 1, n_layers, d_model)).cumsum(1) * 0.1
    names = ["default", *(f"role{i:03d}" for i in range(n_roles))]
    return make_activations(torch.tensor(values), names, label="all", n=12)


def texts(roles: list[str]) -> pd.DataFrame:
    said = {"prompt": "Be it.", "question": "Who are you?", "response": f"I am. {ATTACK}", "label": 3, "projection": -1.5}
    rows = [{"role": r, "description": ATTACK, "tags": "", "labels": "", "prompts": ["Be it."], "responses": [said]} for r in roles]
    return pd.DataFrame(rows)


# -- numbers ------------------------------------------------------------------------------------------
def test_the_start_layer_is_the_space_itself_and_every_layer_its_own_fit(vectors, layers):
    start = layers.attrs["start"]
    for layer, part in layers.groupby("layer"):
        space = PersonaSpace(int(layer)).fit(vectors)
        scores, loadings = space.transform(vectors), space.loadings().to_numpy()
        for i in range(3):
            sign = 1 if layer == start or i == 0 else np.sign(scores[:, i] @ part[f"pc{i + 1}"])
            assert np.allclose(part[f"pc{i + 1}"], sign * scores[:, i])
            assert np.allclose(part[f"loading{i + 1}"], sign * loadings[:, i])
        assert np.allclose(layers.attrs["explained"][layer], space.explained_variance_ratio_[:3])


def test_signs_follow_those_of_the_layer_before():
    vectors = wide_vectors(40, 8)
    frame = persona_layers(vectors, contrast(vectors), start=3)
    for name in ("pc2", "pc3"):
        by_layer = frame.pivot(index="role", columns="layer", values=name)
        steps = [float(by_layer[a] @ by_layer[b]) for a, b in zip(range(7), range(1, 8), strict=True)]
        assert min(steps) > 0
    assert (frame.loc[frame["is_default"], "pc1"] > 0).all()


def test_projection_is_that_on_the_axis(vectors, layers):
    axis = contrast(vectors)
    for layer, part in layers.groupby("layer"):
        assert np.allclose(part["projection"], vectors.project(axis)[layer])


def test_layers_that_are_not_there(vectors):
    axis = contrast(vectors)
    with pytest.raises(DataError, match="no role vectors of layer 9"):
        persona_layers(vectors, axis, layers=[0, 9])
    with pytest.raises(DataError, match="layer 7 is not among"):
        persona_layers(vectors, axis, start=7)
    with pytest.raises(DataError, match="at one layer or more, and none was named"):
        persona_layers(vectors, axis, layers=[])


# -- the figure ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("dims", [2, 3])
def test_light_by_default_and_dark_on_request(layers, dims):
    check_themes(lambda **k: plots.persona_layers(layers, dims=dims, **k))


def test_the_numbers_behind_the_figure_are_those_of_the_table(layers):
    shown = plots.data(plots.persona_layers(layers))
    assert set(shown["frame"]) == {str(layer) for layer in layers["layer"]}
    for layer, part in layers.groupby("layer"):
        own = shown[shown["frame"] == str(layer)]
        space = own[own["trace"].str.startswith("persona space")].set_index("text")
        by_role = part.set_index("role").loc[space.index]
        assert np.allclose(space["x"].astype(float), by_role["pc1"], rtol=1e-5)
        assert np.allclose(space["y"].astype(float), by_role["pc2"], rtol=1e-5)
        assert np.allclose(space["colour"].astype(float), by_role["projection"], rtol=1e-5)
        line = own[own["trace"].str.startswith("axis")].set_index("text").loc[space.index]
        assert np.allclose(line["x"].astype(float), by_role["projection"], rtol=1e-5)
        for i in (1, 2, 3):
            loadings = own[own["trace"].str.startswith(f"loadings on PC{i}")].set_index("text").loc[space.index]
            assert np.allclose(loadings["x"].astype(float), by_role[f"loading{i}"], rtol=1e-5)
            assert loadings["colour"].isna().all()  # a step of the scale is no number that was measured


def test_each_layer_has_its_own_scale_and_labels(layers):
    figure = plots.persona_layers(layers)
    for frame in figure.frames:
        part = layers[layers["layer"] == int(frame.name)]
        assert frame.layout.coloraxis.cmax == pytest.approx(part["projection"].max())
        words = [note.text for note in frame.layout.annotations]
        assert f"<b>Layer {frame.name}</b>" in words
        assert "<b>default</b>" in words
    assert [step.label for step in figure.layout.sliders[0].steps] == [frame.name for frame in figure.frames]
    assert figure.layout.sliders[0].active == 1  # the middle of two layers


def test_what_the_figure_refuses(layers):
    with pytest.raises(DataError, match="2 or 3 dimensions, not 4"):
        plots.persona_layers(layers, dims=4)
    with pytest.raises(DataError, match="needs the columns loading1"):
        plots.persona_layers(layers.drop(columns=["loading1", "loading2"]))
    with pytest.raises(DataError, match="no layer 9 to begin with"):
        plots.persona_layers(layers, start=9)
    with pytest.raises(DataError, match="same roles in the same order"):
        plots.persona_layers(layers.drop(index=layers.index[-1]))


def test_275_roles_and_64_layers_stay_below_six_and_a_half_megabytes(tmp_path):
    vectors = wide_vectors(275, 64)
    frame = persona_layers(vectors, contrast(vectors))
    facts = texts(frame["role"].unique().tolist()).assign(description="A description as long as those of the library are, in words.")
    figure = plots.persona_layers(frame, facts)
    assert plots.save(figure, tmp_path / "big.html").stat().st_size < 6.5e6
    assert {trace.x.dtype for trace in figure.frames[0].data} == {np.dtype("float32")}
    assert all(trace.hovertext is None and trace.text is None for trace in figure.frames[0].data)


# -- the page -----------------------------------------------------------------------------------------
def test_texts_from_data_stay_texts(layers):
    page = plots.explorer_page(layers, texts(layers["role"].unique().tolist()), title=ATTACK)
    assert "<img" not in page
    found = explorer_fragment(layers, texts(layers["role"].unique().tolist()), name="one")
    data = json.loads(found.split('<script type="application/json">')[1].split("</script>")[0])
    assert data["roles"][0]["responses"][0]["response"] == f"I am. {ATTACK}"
    assert data["roles"][-1]["role"] == "default"
    assert 'id="one"' in found
    assert "http" not in found.replace("http://www.w3.org", "")


def test_a_study_has_its_linked_page(tmp_path):
    run = run_study("organism", tmp_path / "run", roles=9, questions=3, prompts=1, default_rollouts=12)
    facts = role_facts(run)
    with pytest.raises(DataError, match="have no projection at layer 9: they have at \\[0, 1"):
        role_facts(run, layer=9)
    assert facts["role"].tolist() == run.role_vectors.rows["role"].tolist()
    role = facts[facts["role"] != "default"].iloc[0]
    assert len(role["responses"]) == 3
    assert role["prompts"]
    own = run.rollouts[run.rollouts["role"] == role["role"]]
    assert {said["response"] for said in role["responses"]} <= {text[:420] for text in own["response"]} | {
        text[:419] + "…" for text in own["response"]
    }
    table = pd.read_csv(run.folder / "tables" / "persona_layers.csv")
    space = run.space().to_frame(run.axis).set_index("role")
    here = table[table["layer"] == run.recommended_layer].set_index("role").loc[space.index]
    assert np.allclose(here[["pc1", "pc2", "pc3"]], space[["pc1", "pc2", "pc3"]])
    report = run.report.read_text(encoding="utf-8")
    assert 'class="explorer' in report
    assert (run.folder / "figures" / "persona_layers.html").exists()
