"""What people plausibly give by mistake to the functions of interventions is answered with one sentence."""

import pytest
import torch

from workbench.calibration import parse_percentiles
from workbench.control_vectors import export_gguf
from workbench.conversations import Conversation, Role
from workbench.directions import Direction
from workbench.errors import DataError
from workbench.evaluation.conditions import Condition, evaluate
from workbench.evaluation.prompts import Prompt, under_personas
from workbench.interventions import Floor
from workbench.library import load_questions, load_roles
from workbench.models.extraction import token_activations
from workbench.models.measuring import residual_norms
from workbench.rollouts import generate_rollouts
from workbench.thresholds import threshold

ASKED = [Prompt("a", "question", Conversation.of("Who are you?"))]


@pytest.fixture(scope="module")
def rows(organism):
    return generate_rollouts(organism, load_roles(organism, n=2), load_questions(organism, n=2), default_rollouts=4)


@pytest.fixture(scope="module")
def axis(organism):
    values = torch.randn(organism.n_layers, organism.d_model, generator=torch.Generator().manual_seed(0))
    return Direction(values, organism.bare_site(), "axis", "default")


CASES = {
    "a prompt as text": (lambda m, a, r: evaluate(m, ["hi"], None), "'hi' is none"),
    "a single condition": (lambda m, a, r: evaluate(m, ASKED, None, Condition("cap", (Floor(a, 0.0),))), "put the one into brackets"),
    "no batch": (lambda m, a, r: evaluate(m, ASKED, None, batch_size=0), "one prompt or more, not 0"),
    "no new tokens": (lambda m, a, r: evaluate(m, ASKED, None, max_new_tokens=-5), "at least one new token"),
    "no pairs": (lambda m, a, r: under_personas(ASKED, [Role("x", ("y",))], n=-1), "one pair or more is drawn, not -1"),
    "no percentiles": (lambda m, a, r: parse_percentiles(" "), "no percentiles are named"),
    "a layer that is not there": (lambda m, a, r: residual_norms(m, r, [9]), "9"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_input_is_one_sentence(organism, axis, rows, name):
    call, text = CASES[name]
    with pytest.raises(DataError, match=text):
        call(organism, axis, rows)


def test_what_is_one_of_several_may_be_given_alone(organism, axis, rows, tmp_path):
    assert residual_norms(organism, rows, 3).at(3) == pytest.approx(residual_norms(organism, rows).at(3))
    pytest.importorskip("gguf")
    export_gguf(axis, tmp_path / "x.gguf", layers=3)


def test_a_threshold_over_tokens_names_no_role(organism, axis):
    tokens = token_activations(organism, Conversation.of([("user", "Who are you?"), ("assistant", "I am an AI assistant.")]))
    found = threshold(axis, tokens, 25)
    assert (found.z, found.n) == ({}, len(tokens))
    assert found.over == "what was given, of roles that are not said"
