"""Every error: what it means, what kind of answer it is, and what to do, from the docstrings of the classes."""

from __future__ import annotations

import inspect

from loom.cli.command import exit_code_of
from loom.cli.reference.found import subclasses
from loom.errors import ControlError, LoomError

__all__ = ["TO_DO", "errors_page"]

TO_DO = "To do:"
"""Begins the paragraph of a docstring that says what to do."""

_BEGINS = """# Errors

Every error of loom, from the docstrings of the classes. The shell prints an error's name below its message;
`loom docs errors#NAME` shows what it means and what to do. All are subclasses of `LoomError`. The kind of answer
decides the exit code of the shell, the status over HTTP and the level in the log:
"""

_KINDS = {
    "not_found": "what was named does not exist, or no longer",
    "conflict": "the request contradicts the present state",
    "refused": "this may not be done, however it is asked for",
    "busy": "it cannot be done now; the same request may succeed later",
    "invalid": "the request is wrong and stays wrong until it is changed",
    "fault": "something is broken: the journal, the machine, the config, or code",
}


def errors_page() -> str:
    """Return the page."""
    kinds = "\n".join(
        f"- `{kind}`: {text}; exit code {exit_code_of(ControlError('', kind=kind))}"  # type: ignore[arg-type]
        for kind, text in _KINDS.items()
    )
    found = {each.__name__: each for each in subclasses(LoomError) if not each.__name__.startswith("_")}
    return "\n".join([_BEGINS, kinds, "", *(_section(found[name]) for name in sorted(found))])


def _section(error: type[LoomError]) -> str:
    means, _, to_do = inspect.cleandoc(error.__doc__ or "").partition(f"\n\n{TO_DO}")
    above = error.__mro__[1].__name__
    said = [f"## {error.__name__}", "", means, ""]
    if to_do:
        said += [f"**{TO_DO}** {' '.join(to_do.split())}", ""]
    kin = "" if above == "LoomError" else f" It is a kind of `{above}`."
    return "\n".join([*said, f"Kind of answer: `{error.kind}`. From `{error.__module__}`.{kin}", ""])
