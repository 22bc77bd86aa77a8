"""persona-workbench: find out where a chat model's persona lives in its activations, watch it move, and hold it in place."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Ablate": "interventions",
    "Activations": "activations",
    "Add": "interventions",
    "Attribution": "models.attribution",
    "Ceiling": "interventions",
    "Condition": "evaluation.conditions",
    "Conversation": "conversations",
    "Dialogue": "app.dialogue",
    "Direction": "directions",
    "Endpoint": "models.endpoint",
    "EndpointUser": "drift.simulated_users",
    "Evaluation": "evaluation.conditions",
    "Floor": "interventions",
    "Grader": "evaluation.grading",
    "HookedModel": "models.hooked",
    "Judge": "judging",
    "Judgement": "conversations",
    "LLMGrader": "llm_grader",
    "LLMJudge": "llm_judge",
    "ModelUser": "drift.simulated_users",
    "Monitor": "monitor",
    "Norms": "thresholds",
    "Outcome": "evaluation.grading",
    "PersonaSpace": "persona_space",
    "Prompt": "evaluation.prompts",
    "Question": "conversations",
    "Role": "conversations",
    "RuleJudge": "organism.judge",
    "Run": "store",
    "Settings": "app.settings",
    "Site": "activations",
    "Task": "drift.simulation",
    "Threshold": "thresholds",
    "Trait": "conversations",
    "Transcripts": "transcripts",
    "Turn": "conversations",
    "WhoOrWhat": "decomposition",
    "WorkbenchError": "errors",
    "WorldGrader": "organism.behaviour",
    "attribution": "models.attribution",
    "bag_of_embeddings": "models.words",
    "band_of": "trajectories",
    "cap": "interventions",
    "contrast": "directions",
    "converse": "drift.simulation",
    "direction_of": "app.directions",
    "drift_tasks": "drift.simulation",
    "evaluate": "evaluation.conditions",
    "export_gguf": "control_vectors",
    "export_published": "published",
    "extract": "models.extraction",
    "generate_rollouts": "rollouts",
    "import_published": "published",
    "judge": "judging",
    "load_behaviours": "evaluation.prompts",
    "load_caps": "published",
    "load_conversations": "transcripts",
    "load_model": "models.loading",
    "load_prompts": "evaluation.prompts",
    "load_questions": "library",
    "load_roles": "library",
    "load_traits": "library",
    "logit_lens": "models.lens",
    "make_splits": "evaluation.splits",
    "open_bench": "app.bench",
    "open_run": "store",
    "paper_figures": "paper.catalogue",
    "patching": "models.patching",
    "preset_for": "presets",
    "random_beside": "app.acting",
    "repeatability": "drift.repeats",
    "repeated_replies": "drift.repeats",
    "replay": "drift.simulation",
    "residual_norms": "models.measuring",
    "role_vectors": "directions",
    "run_study": "study.main",
    "run_tasks": "evaluation.capabilities",
    "save_conversations": "transcripts",
    "simulate": "drift.simulation",
    "split_prompts": "evaluation.prompts",
    "stream": "app.streaming",
    "sweep_layers": "sweeps",
    "sweep_strengths": "steering",
    "threshold": "thresholds",
    "token_activations": "models.extraction",
    "token_scores": "models.measuring",
    "trait_vectors": "study.traits",
    "trajectory": "trajectories",
    "under_personas": "evaluation.prompts",
    "who_or_what": "decomposition",
    "world_prompts": "organism.behaviour",
}
"""Public name -> module: imported when first used (PEP 562), so that ``import workbench`` costs nothing."""

__all__ = ["plots", *_HOME]

if TYPE_CHECKING:
    from . import plots as plots
    from .activations import Activations as Activations
    from .activations import Site as Site
    from .app.acting import random_beside as random_beside
    from .app.bench import open_bench as open_bench
    from .app.dialogue import Dialogue as Dialogue
    from .app.directions import direction_of as direction_of
    from .app.settings import Settings as Settings
    from .app.streaming import stream as stream
    from .control_vectors import export_gguf as export_gguf
    from .conversations import Conversation as Conversation
    from .conversations import Judgement as Judgement
    from .conversations import Question as Question
    from .conversations import Role as Role
    from .conversations import Trait as Trait
    from .conversations import Turn as Turn
    from .decomposition import WhoOrWhat as WhoOrWhat
    from .decomposition import who_or_what as who_or_what
    from .directions import Direction as Direction
    from .directions import contrast as contrast
    from .directions import role_vectors as role_vectors
    from .drift.repeats import repeatability as repeatability
    from .drift.repeats import repeated_replies as repeated_replies
    from .drift.simulated_users import EndpointUser as EndpointUser
    from .drift.simulated_users import ModelUser as ModelUser
    from .drift.simulation import Task as Task
    from .drift.simulation import converse as converse
    from .drift.simulation import drift_tasks as drift_tasks
    from .drift.simulation import replay as replay
    from .drift.simulation import simulate as simulate
    from .errors import WorkbenchError as WorkbenchError
    from .evaluation.capabilities import run_tasks as run_tasks
    from .evaluation.conditions import Condition as Condition
    from .evaluation.conditions import Evaluation as Evaluation
    from .evaluation.conditions import evaluate as evaluate
    from .evaluation.grading import Grader as Grader
    from .evaluation.grading import Outcome as Outcome
    from .evaluation.prompts import Prompt as Prompt
    from .evaluation.prompts import load_behaviours as load_behaviours
    from .evaluation.prompts import load_prompts as load_prompts
    from .evaluation.prompts import split_prompts as split_prompts
    from .evaluation.prompts import under_personas as under_personas
    from .evaluation.splits import make_splits as make_splits
    from .interventions import Ablate as Ablate
    from .interventions import Add as Add
    from .interventions import Ceiling as Ceiling
    from .interventions import Floor as Floor
    from .interventions import cap as cap
    from .judging import Judge as Judge
    from .judging import judge as judge
    from .library import load_questions as load_questions
    from .library import load_roles as load_roles
    from .library import load_traits as load_traits
    from .llm_grader import LLMGrader as LLMGrader
    from .llm_judge import LLMJudge as LLMJudge
    from .models.attribution import Attribution as Attribution
    from .models.attribution import attribution as attribution
    from .models.endpoint import Endpoint as Endpoint
    from .models.extraction import extract as extract
    from .models.extraction import token_activations as token_activations
    from .models.hooked import HookedModel as HookedModel
    from .models.lens import logit_lens as logit_lens
    from .models.loading import load_model as load_model
    from .models.measuring import residual_norms as residual_norms
    from .models.measuring import token_scores as token_scores
    from .models.patching import patching as patching
    from .models.words import bag_of_embeddings as bag_of_embeddings
    from .monitor import Monitor as Monitor
    from .organism.behaviour import WorldGrader as WorldGrader
    from .organism.behaviour import world_prompts as world_prompts
    from .organism.judge import RuleJudge as RuleJudge
    from .paper.catalogue import paper_figures as paper_figures
    from .persona_space import PersonaSpace as PersonaSpace
    from .presets import preset_for as preset_for
    from .published import export_published as export_published
    from .published import import_published as import_published
    from .published import load_caps as load_caps
    from .rollouts import generate_rollouts as generate_rollouts
    from .steering import sweep_strengths as sweep_strengths
    from .store import Run as Run
    from .store import open_run as open_run
    from .study.main import run_study as run_study
    from .study.traits import trait_vectors as trait_vectors
    from .sweeps import sweep_layers as sweep_layers
    from .thresholds import Norms as Norms
    from .thresholds import Threshold as Threshold
    from .thresholds import threshold as threshold
    from .trajectories import band_of as band_of
    from .trajectories import trajectory as trajectory
    from .transcripts import Transcripts as Transcripts
    from .transcripts import load_conversations as load_conversations
    from .transcripts import save_conversations as save_conversations


def __getattr__(name: str) -> Any:
    if name == "plots":
        return import_module(".plots", __name__)
    if name not in _HOME:
        raise AttributeError(f"module 'workbench' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
