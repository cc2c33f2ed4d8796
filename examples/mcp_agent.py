"""The tools of an MCP server: here a program of ours (servers/library.py), started for the run and gone after it.

A URL works as well: MCP("http://127.0.0.1:8000/library/mcp", headers={"authorization": f"Bearer {token}"}).
Needs the mcp package: pip install 'asyncllm[mcp]'.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from asyncllm import MCP, Client, ConnectionFailedError, TextDelta, ToolCall, ToolProgress, ToolResult

LIBRARY = Path(__file__).parent / "servers" / "library.py"


async def main(model: str) -> None:
    library = MCP([sys.executable, str(LIBRARY)], exclude="burn_*", timeout=10)
    async with Client(model) as client:
        # Leaving the block stops the server. Without a block it lives as long as each run that uses it.
        async with library:
            async with client.run("Which books are from 1860 or later?", tools=[library]) as stream:
                async for event in stream:
                    match event:
                        case ToolCall(name=name, arguments=arguments):
                            print(f"-> {name}({arguments})")
                        case ToolProgress(progress=progress, total=total, message=message):
                            print(f"   {progress:g} of {total:g}: {message}")
                        case ToolResult(name=name) as result:
                            print(f"<- {result.text}")
                        case TextDelta(text=text):
                            print(text, end="", flush=True)
                        case _:
                            pass
            print()

        # A server that cannot be reached is an error before the model is asked anything. One that fails later is not: the
        # model is told, and the run goes on.
        try:
            await client.run("Hello?", tools=[MCP(["no-such-server"])])
        except ConnectionFailedError as error:
            print(error)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "demo/tool"))
