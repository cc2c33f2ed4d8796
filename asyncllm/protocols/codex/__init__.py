"""The Codex CLI (seeds A10): the JSON-RPC of its app-server, and the JSON lines of `codex exec`, sans-IO."""
