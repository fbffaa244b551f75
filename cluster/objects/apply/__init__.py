"""Who owns which field of an object, and what an apply makes of it.

Source: KEP-555 (server-side apply), structured-merge-diff's model of paths, sets, comparison, merging and pruning.
"""
