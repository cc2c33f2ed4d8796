"""A small MCP server, for mcp_agent.py: it speaks on its standard input and output."""

from __future__ import annotations

from typing import Annotated

from mcp.server.mcpserver import Context, MCPServer
from pydantic import Field

BOOKS = {"Moby-Dick": 1851, "Middlemarch": 1871, "Ulysses": 1922}

Year = Annotated[int, Field(description="A year", examples=[1860])]

server = MCPServer("library", log_level="WARNING")


@server.tool()
async def find_books(since: Year, context: Context) -> list[str]:
    """Titles of books that appeared in a year or later."""
    found = []
    for at, (title, year) in enumerate(BOOKS.items(), start=1):
        await context.report_progress(at, len(BOOKS), title)
        if year >= since:
            found.append(title)
    return found


@server.tool()
async def burn_book(title: str) -> str:
    """Nobody should be given this tool."""
    return f"{title} is gone"


if __name__ == "__main__":
    server.run()
