"""The command line: `asyncllm chat`, `models`, `providers`, `doctor`, `serve`. Needs the extra `cli`."""

from __future__ import annotations

import sys
from importlib.util import find_spec

NEEDED = ("typer", "rich")


def main() -> None:
    """Run the command line with `sys.argv`; ends with SystemExit (see :mod:`asyncllm.cli._exits`)."""
    if not all(find_spec(name) for name in NEEDED):
        print("the command line needs the extra: pip install 'asyncllm[cli]'", file=sys.stderr)
        sys.exit(2)
    from ._app import app
    from ._terminal import tolerate_any_text

    tolerate_any_text()
    app(prog_name="asyncllm")
