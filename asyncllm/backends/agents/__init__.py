"""The coding agents: command line programs that are models with tools of their own, driven as child processes."""
