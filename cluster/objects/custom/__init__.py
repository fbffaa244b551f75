"""Custom resources: what a CustomResourceDefinition makes the server serve, and the rules for its objects.

`definition` reads a definition into `kind.CustomKind`s; a `Resource` that carries one leaves decoding, defaulting,
strategy, validation, tables and ownership to the modules here. `extensions` judges the definitions themselves.
"""
