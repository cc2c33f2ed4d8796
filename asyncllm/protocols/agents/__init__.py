"""What the codecs of the coding agents share. Each agent's own wire is a package beside this one's modules."""
