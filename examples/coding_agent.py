"""A coding agent as a model: its own tools are seen as they run, and the next question goes on in its session.

    python examples/coding_agent.py claude-code/sonnet

Without a model, a stand-in for an agent answers.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path

from asyncllm import Client, Conversation, TextDelta, ToolCall, ToolResult

QUESTIONS = ["What is in this directory?", "And which of it is the largest?"]


async def ask(client: Client) -> None:
    conversation = Conversation()
    for question in QUESTIONS:
        print(f"> {question}")
        conversation.append(question)
        async with client.stream(conversation) as stream:
            async for event in stream:
                match event:
                    case TextDelta(text=text):
                        print(text, end="", flush=True)
                    case ToolCall(name=name, arguments=arguments):
                        print(f"\n   -> {name}({arguments})")
                    case ToolResult() as result:
                        print(f"   <- {'error: ' if result.is_error else ''}{result.text}")
            reply = await stream.reply()
        conversation.append(reply)
        if reply.session is not None:
            print(f"\n   session {reply.session.id} of {reply.session.backend}, {reply.steps} steps")


async def main(model: str | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "notes.txt").write_text("Nothing yet.\n")
        if model is not None:
            async with Client(model, cwd=folder) as client:
                return await ask(client)
        async with Client("antigravity", executable=stand_in(Path(folder)), cwd=folder) as client:
            await ask(client)


def stand_in(folder: Path) -> str:
    """A program that says what Antigravity would."""
    tool = {"name": "list_dir", "parameters": {"DirectoryPath": "."}}
    lines = [
        {"event": "init", "conversation_id": "7f3a"},
        {"event": "step_update", "step_index": 1, "step_type": "tool", "state": "ACTIVE", "tool_info": tool},
        {
            "event": "step_update",
            "step_index": 1,
            "step_type": "tool",
            "state": "DONE",
            "tool_info": {**tool, "output": "notes.txt"},
        },
        {"event": "step_update", "step_index": 2, "step_type": "agent_response", "text_delta": "Only notes.txt."},
        {"event": "result", "status": "SUCCESS", "response": "Only notes.txt."},
    ]
    path = folder / "agy"
    path.write_text(f"#!{sys.executable} -S\nprint({chr(10).join(map(json.dumps, lines))!r})\n")
    path.chmod(0o700)
    return str(path)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else None))
