"""`asyncllm chat`: one question, or a conversation on a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Sequence

from .._client import Client
from ..events import InvalidRequestError, LLMError, Message, Reply
from ._exits import report
from ._render import JSONView, TextView, View
from ._terminal import Screen

MakeView = Callable[[], View]


def question_from(prompt: str | None) -> str | None:
    """The prompt with what is piped in; None where a terminal can be asked instead."""
    piped = sys.stdin is not None and not sys.stdin.isatty()
    pieces = [] if prompt in (None, "-") else [prompt]
    if piped or prompt == "-":
        pieces.append(sys.stdin.buffer.read().decode("utf-8", "replace").rstrip())
    question = "\n\n".join(piece for piece in pieces if piece and piece.strip())
    if not question and (piped or prompt is not None):
        raise InvalidRequestError("there is no prompt: give one as an argument or on stdin")
    return question or None


def view_maker(screen: Screen, *, as_json: bool) -> MakeView:
    return JSONView if as_json else lambda: TextView(screen)


def one_question(runner: asyncio.Runner, client: Client, question: str, make_view: MakeView) -> None:
    runner.run(_turn(client, [Message("user", question)], make_view()))


def conversation(runner: asyncio.Runner, client: Client, make_view: MakeView, *, debug: bool, prompt_on_stdout: bool) -> None:
    """Ask until an empty line or Ctrl-D. A question that fails is told and forgotten."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  # gives input() its line editing

    history: tuple[Message, ...] = ()
    while question := _input(prompt_on_stdout):
        try:
            reply = runner.run(_turn(client, [*history, Message("user", question)], make_view()))
        except LLMError as error:
            report(error, debug=debug)
        else:
            history = reply.messages


def _input(prompt_on_stdout: bool) -> str:
    """A line from the terminal; "" at its end."""
    prompt = "> "
    if not prompt_on_stdout:
        print(prompt, end="", file=sys.stderr, flush=True)
        prompt = ""
    try:
        return input(prompt).strip()
    except EOFError:
        print(file=sys.stderr)
        return ""


async def _turn(client: Client, messages: Sequence[Message], view: View) -> Reply[object]:
    """One answer, shown as it comes. Raises the error with which it ends."""
    whole: Reply[object] | None = None
    # not `async with client.stream()`, which would hold the retries back until something came of them
    async with contextlib.aclosing(client.stream(messages)) as stream:
        try:
            async for batch in stream.batches():
                view.show(batch)
            whole = stream.partial
        except LLMError as error:
            view.fail(error)
            raise
        finally:
            view.end(whole)
    return whole
