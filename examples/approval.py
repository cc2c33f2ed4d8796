"""Somebody is asked before a call is made: it is allowed, denied with a reason, or made with other arguments."""

from __future__ import annotations

import asyncio
import sys

from asyncllm import Allow, Approval, Client, Deny, ToolCall, ToolResult
from asyncllm.testing import Answer, Server

ANSWERS = iter(["y", "n", "e"])
"""What is answered where nobody sits at a terminal."""


def send_mail(to: str, text: str) -> str:
    """Send a mail."""
    return f"sent to {to}: {text}"  # (no mail is sent here)


def approve(call: ToolCall) -> Approval:
    """A plain function is asked in a thread, one call at a time: it may wait for a person. An async one works as well."""
    if call.name != "send_mail":
        return True
    question = f"{call.name}({call.arguments})? [y]es, [n]o, [e]dit: "
    if sys.stdin.isatty():
        answer = input(question)
    else:
        answer = next(ANSWERS, "n")
        print(question + answer)
    match answer.strip().lower():
        case "y":
            return Allow()
        case "e":
            return Allow({**(call.arguments or {}), "text": "(edited) See you soon."})
        case _:
            return Deny("the user does not want this mail to be sent; do not try again")


async def ask(client: Client) -> None:
    async with client.run("Invite Ada, Bo and Cy.", tools=[send_mail], approve=approve) as stream:
        async for event in stream:
            if isinstance(event, ToolResult):
                print(f"   {'error: ' if event.is_error else ''}{event.text}")
        print((await stream.reply()).text)


async def main(model: str | None) -> None:
    if model is not None:
        async with Client(model) as client:
            return await ask(client)
    mails = [ToolCall(f"call_{name}", "send_mail", {"to": name, "text": "Come!"}) for name in ("Ada", "Bo", "Cy")]
    script = [Answer(mails), Answer.text("Ada and Cy are invited, Bo is not.")]
    async with Server(script) as server, Client("scripted", base_url=server.base_url) as client:
        await ask(client)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else None))
