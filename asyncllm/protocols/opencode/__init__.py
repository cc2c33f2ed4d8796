"""opencode, in both ways in which it is driven: the events of `opencode serve`, and the lines of `opencode run`.

Shapes: the OpenAPI description that opencode 1.18.33 serves at `/doc`, and recordings of it.
"""
