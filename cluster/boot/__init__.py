"""The composition root: reads settings, wires the parts, and holds the command line."""
