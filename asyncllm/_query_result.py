"""What a prompt gives back, whatever backend it went to (seeds F1, F4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, Literal, TypeVar

from msgspec import Struct

from ._conversation import Conversation
from ._transcript import transcript
from .events import FinishReason, LLMError, Message, Reply, StopReason, Usage

Output = TypeVar("Output")


class PromptMetadata(Struct, frozen=True, kw_only=True):
    """The facts about a prompt.

    Attributes:
        model, backend: who answered, as the provider says it; who was asked, where nobody did.
        tools: how many calls of each tool were answered, also with an error.
        usage: tokens (input, output, cache, reasoning) and cost of everything that was said, also in attempts that failed.
        turns: answers of the model that are part of the conversation.
        attempts: how often it was begun, or gone on with: 1 unless something failed.
        duration: seconds, waits included.
        finish_reason: of the last answer; None where it broke.
        stopped: why it went no further though the model was not done, as in :class:`asyncllm.Stopped`.
    """

    model: str
    backend: str
    tools: Mapping[str, int] = {}
    usage: Usage | None = None
    turns: int = 0
    attempts: int = 1
    duration: float = 0.0
    finish_reason: FinishReason | None = None
    stopped: StopReason | None = None


class QueryResult(Struct, Generic[Output], frozen=True, kw_only=True):
    """What became of a prompt: the answer, or how far it came.

    Attributes:
        result: the final text, or the model's refusal; where it failed, what there was of the last answer.
        returncode: 0, or -1 where it failed.
        stderr: "", or the error in words, without secrets.
        stream_result: the :class:`Reply`: `stream_result.messages` goes on anywhere. Steps and usage are of all attempts.
        success: whether the model came to an end, or was stopped as it was asked to be (`metadata.stopped`).
        error: what it failed with.
        output: the answer as the type of `output=`; None where it failed, or was stopped.
        messages: of this call alone: the user's last message, and everything that followed.
    """

    result: str
    returncode: Literal[0, -1]
    stderr: str
    stream_result: Reply[Output]
    success: bool
    error: LLMError | None
    output: Output | None
    metadata: PromptMetadata
    messages: list[Message]

    @property
    def session(self) -> bytes:
        """The whole conversation, with what providers want back verbatim: `client.prompt(..., session=)` goes on with it, also
        on another machine. It is the JSON of a :class:`asyncllm.Conversation`."""
        conversation = Conversation(self.stream_result.messages)
        conversation.session = self.stream_result.session
        return conversation.to_json()

    @property
    def transcript(self) -> str:
        """The call as readable text, long values cut (see :func:`asyncllm.transcript`)."""
        return transcript(self.messages)
