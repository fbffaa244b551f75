"""Kubernetes' dialect of the Common Expression Language: rules of custom resources, later policies too.

`engine` alone imports the library, which parses; `syntax` is its tree, on which `macros` unfolds what it leaves alone.
`declared` tells what a schema says of types and sizes, `checking` finds types, `costs` the worst case, `evaluation`
evaluates; `standard` and `library` have the functions. `rules` says what the rules of a schema find in an object,
`policies` what a check of an admission policy finds for the kinds that `kinds` declares.
Decisions 0020 and 0024.
"""
