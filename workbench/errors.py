"""The one family of errors a user meets: each message is a sentence that says what was wrong, where, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class WorkbenchError(Exception):
    """Anything that a user can mend; the command line prints the message without a traceback."""


class ModelError(WorkbenchError):
    """A model cannot be found, loaded or hooked."""


class ChatError(WorkbenchError):
    """A conversation cannot be rendered, or the place of a message in it cannot be proven."""


class LibraryError(WorkbenchError):
    """A role, trait or question file is missing or malformed."""


class DataError(WorkbenchError):
    """Tensors and tables do not fit each other, or do not suffice for what is asked."""


class EndpointError(WorkbenchError):
    """A server cannot be reached, refuses what it is asked, or an answer cannot be used."""


class RunError(WorkbenchError):
    """A run folder is unreadable, foreign, damaged or belongs to another configuration."""


def setting_sentence(error: ValidationError) -> str:
    """What is wrong with a setting, in one sentence: its name, why, and what was given."""
    first = error.errors()[0]
    return f"setting {'.'.join(map(str, first['loc']))}: {first['msg'].lower()} (got {first['input']!r})"
