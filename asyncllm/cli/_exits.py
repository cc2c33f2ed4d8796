"""How commands end: one helpful line and an exit code for every kind of error."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from ..backends import SPECIALS, VENDORS
from ..events import ErrorKind, IncompleteStreamError, LLMError, TotalTimeout
from ._terminal import one_line

EPILOG = """\b
Exit codes:
  0    the answer is whole
  1    anything else that went wrong, also: stopped at --max-steps before an answer
  2    wrong usage, or a request that cannot be right
  3    no key, a refused key, or a key that may not do this
  4    rate limit, or no credit
  5    a server, of the model or of tools, failed, could not be reached, or took too long
  6    the answer broke off, broke its protocol, or does not fit the --schema (what came was printed)
  130  stopped with Ctrl-C
"""

CODES: dict[ErrorKind, int] = {
    "invalid_request": 2,
    "not_found": 2,
    "context_length": 2,
    "authentication": 3,
    "permission": 3,
    "rate_limit": 4,
    "billing": 4,
    "overloaded": 5,
    "server_error": 5,
    "timeout": 5,
    "connection": 5,
    "protocol": 6,
}
"""What is not here (blocked content, a cut answer where a whole one was needed, the unknown) is 1."""


def exit_code(error: LLMError) -> int:
    return CODES.get(error.kind, 1)


def error_line(error: LLMError) -> str:
    """What happened and what to do about it, in one line."""
    said = str(error)
    if error.status is None:  # our own words, which speak of Python's arguments
        said = said.replace("api_key=", "--api-key").replace("base_url=", "--base-url")
    return one_line("; ".join(part for part in (said, _advice(error), *getattr(error, "__notes__", ())) if part))


def _advice(error: LLMError) -> str:
    vendor = next((vendor for vendor in VENDORS if vendor.name == error.provider), None)
    match error.kind:
        case "authentication" if error.status is not None and vendor is not None and vendor.env:
            return f"check the key in {' or '.join(vendor.env)} (`asyncllm providers` shows which variables are set)"
        case "rate_limit" | "overloaded" if error.retry_after is not None:
            return f"try again in {error.retry_after:.0f} s"
        case "billing":
            return "the account needs credit: waiting does not help"
        case "not_found" if error.provider and not any(row.program for row in SPECIALS if row.name == error.provider):
            return f"`asyncllm models -m {error.provider}` lists what there is"
        case "context_length":
            return "shorten the input, or take a model with a longer context"
        case "connection" if vendor is not None and vendor.local:
            return f"is {vendor.name} running? --base-url says where"
        case "connection" if error.provider:
            return "`asyncllm doctor` checks network settings"
        case "timeout" if isinstance(error, TotalTimeout):
            return "--timeout gives it more time"
        case "protocol" if isinstance(error, IncompleteStreamError):
            return "what came is not the whole answer"
    return ""


def report(error: LLMError, *, debug: bool) -> None:
    """Say it on stderr."""
    if debug:
        traceback.print_exception(error)
    print(f"error: {error_line(error)}", file=sys.stderr, flush=True)


@contextmanager
def reported(*, debug: bool) -> Iterator[None]:
    """Commands run in this: errors become their line and exit code, and a reader that has gone away ends them in silence."""
    try:
        yield
        sys.stdout.flush()
    except LLMError as error:
        report(error, debug=debug)
        raise typer.Exit(exit_code(error)) from None
    except BrokenPipeError:
        _forget_stdout()
        raise typer.Exit(1) from None


def _forget_stdout() -> None:
    """Python flushes stdout once more when it ends, and would complain about the pipe."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
