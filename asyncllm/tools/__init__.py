"""What a model can call: Python functions, MCP servers, and whatever satisfies the protocol of a tool."""

from ._approval import Allow, Approval, Approve, Deny
from ._function import FunctionTool, tool
from ._mcp import MCP
from ._tool import Content, Report, RunnableTool, ToolError, Toolset
from ._toolbox import Kept, Toolbox, ToolLike, specs_of

__all__ = [
    "MCP",
    "Allow",
    "Approval",
    "Approve",
    "Content",
    "Deny",
    "FunctionTool",
    "Kept",
    "Report",
    "RunnableTool",
    "ToolError",
    "ToolLike",
    "Toolbox",
    "Toolset",
    "specs_of",
    "tool",
]
