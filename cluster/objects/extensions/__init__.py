"""CustomResourceDefinitions: their names and versions, the schemas they bring, and values judged by those schemas.

Everything here is pure. `definition` is what upstream's validation sees of one; `structural` the compiled form of a
schema, which the other modules read.
"""
