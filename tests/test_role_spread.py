"""The spread of a role's place is what repeating the questions would show."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_site
from plot_checks import check_themes

from workbench import plots
from workbench.activations import Activations
from workbench.directions import role_vectors
from workbench.errors import DataError
from workbench.persona_space import PersonaSpace
from workbench.plots.pairs import SURE, ellipse
from workbench.role_spread import role_spread

QUESTIONS, EACH = 24, 4


def answers(seed: int, by_question: float = 1.0) -> Activations:
    """Six roles and a default in six dimensions; answers vary by question and by chance."""
    middles = np.random.default_rng(0).normal(size=(7, 6)) * 6
    rng = np.random.default_rng(seed)
    names = ["default", *"abcdef"]
    asked = rng.normal(size=(7, QUESTIONS, 1, 6)) * by_question
    values = (middles[:, None, None] + asked + rng.normal(size=(7, QUESTIONS, EACH, 6)) * 0.5).reshape(-1, 1, 6)
    rows = pd.DataFrame([(name, q) for name in names for q in range(QUESTIONS) for _ in range(EACH)], columns=["role", "question_index"])
    return Activations(torch.tensor(values, dtype=torch.float32), rows.assign(label=3), make_site(1, 6))


@pytest.fixture(scope="module")
def space():
    return PersonaSpace(0).fit(role_vectors(answers(0)))


def test_the_variance_is_that_of_new_questions(space):
    """Against the truth: role means of 400 studies with other questions, projected on the same components."""
    means = np.stack([space.transform(role_vectors(answers(seed)))[:, :3] for seed in range(1, 401)])
    found = role_spread(space, answers(0), n_boot=2000)
    true = means.var(0)
    ratio = found[["var1", "var2", "var3"]].to_numpy() / true
    assert 0.75 < ratio.mean() < 1.15
    assert ratio.min() > 0.3
    # Answers to one question go together: as if each were independent, the spread would come out far too small.
    alone = answers(0)
    alone.rows["question_index"] = range(len(alone.rows))
    assert role_spread(space, alone)[["var1", "var2", "var3"]].to_numpy().mean() < 0.6 * true.mean()


def test_responses_that_made_no_vector_do_not_count(space):
    acts = answers(0)
    acts.rows.loc[acts.rows["role"] == "a", "label"] = 0
    found = role_spread(space, acts).set_index("role")
    assert found.loc["a", "n"] == 0
    assert np.isnan(found.loc["a", "var1"])
    assert found.loc["b", ["n", "questions"]].tolist() == [QUESTIONS * EACH, QUESTIONS]


def test_what_is_refused(space):
    acts = answers(0)
    bare = Activations(acts.values, acts.rows[["role", "label"]], acts.site)
    with pytest.raises(DataError, match="question_index"):
        role_spread(space, bare)


def test_an_ellipse_holds_ninety_five_per_cent():
    cov = np.array([[4.0, 1.5], [1.5, 1.0]])
    points = np.random.default_rng(0).multivariate_normal([0, 0], cov, 20000)
    inside = np.einsum("ij,jk,ik->i", points, np.linalg.inv(cov), points) <= SURE**2
    assert inside.mean() == pytest.approx(0.95, abs=0.005)
    outline = np.stack(ellipse(cov), 1)
    assert np.allclose(np.einsum("ij,jk,ik->i", outline, np.linalg.inv(cov), outline), SURE**2)


def test_the_figure(space):
    frame = space.to_frame().assign(projection=0.0)
    spread = role_spread(space, answers(0))
    check_themes(lambda **k: plots.persona_pairs(frame, spread, **k))
    figure = plots.persona_pairs(frame, spread)
    outlines = [trace for trace in figure.data if trace.meta == "decoration"]
    assert len(outlines) == 3
    assert sum(value is None for value in outlines[0].x) == 7
    shown = plots.data(figure)
    assert len(shown) == 3 * 7
    assert figure.layout.yaxis2.scaleanchor == "x2"
    with pytest.raises(DataError, match="two different components, not \\(1, 1\\)"):
        plots.persona_pairs(frame, pairs=[(1, 1)])
    with pytest.raises(DataError, match="two different components, not none"):
        plots.persona_pairs(frame, pairs=[])
