"""persona-workbench: find out where a chat model's persona lives in its activations, and watch it move."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Activations": "activations",
    "Conversation": "conversations",
    "Direction": "directions",
    "HookedModel": "models.hooked",
    "Judge": "judging",
    "Judgement": "conversations",
    "PersonaSpace": "persona_space",
    "Question": "conversations",
    "Role": "conversations",
    "RuleJudge": "organism.judge",
    "Run": "store",
    "Site": "activations",
    "Trait": "conversations",
    "Turn": "conversations",
    "WorkbenchError": "errors",
    "contrast": "directions",
    "extract": "models.extraction",
    "generate_rollouts": "rollouts",
    "judge": "judging",
    "load_model": "models.loading",
    "load_questions": "library",
    "load_roles": "library",
    "load_traits": "library",
    "make_splits": "evaluation.splits",
    "open_run": "store",
    "role_vectors": "directions",
    "run_study": "study",
    "sweep_layers": "sweeps",
    "token_activations": "models.extraction",
}
"""Public name -> module: imported when first used (PEP 562), so that ``import workbench`` costs nothing."""

__all__ = ["plots", *_HOME]

if TYPE_CHECKING:
    from . import plots as plots
    from .activations import Activations as Activations
    from .activations import Site as Site
    from .conversations import Conversation as Conversation
    from .conversations import Judgement as Judgement
    from .conversations import Question as Question
    from .conversations import Role as Role
    from .conversations import Trait as Trait
    from .conversations import Turn as Turn
    from .directions import Direction as Direction
    from .directions import contrast as contrast
    from .directions import role_vectors as role_vectors
    from .errors import WorkbenchError as WorkbenchError
    from .evaluation.splits import make_splits as make_splits
    from .judging import Judge as Judge
    from .judging import judge as judge
    from .library import load_questions as load_questions
    from .library import load_roles as load_roles
    from .library import load_traits as load_traits
    from .models.extraction import extract as extract
    from .models.extraction import token_activations as token_activations
    from .models.hooked import HookedModel as HookedModel
    from .models.loading import load_model as load_model
    from .organism.judge import RuleJudge as RuleJudge
    from .persona_space import PersonaSpace as PersonaSpace
    from .rollouts import generate_rollouts as generate_rollouts
    from .store import Run as Run
    from .store import open_run as open_run
    from .study import run_study as run_study
    from .sweeps import sweep_layers as sweep_layers


def __getattr__(name: str) -> Any:
    if name == "plots":
        return import_module(".plots", __name__)
    if name not in _HOME:
        raise AttributeError(f"module 'workbench' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
