"""Kubernetes' dialect of the Common Expression Language: rules of custom resources, later policies too.

`engine` alone imports the library; `library` adds Kubernetes' functions, `values` turns JSON into CEL's types,
`rules` evaluates what a schema asks for. Why this library: decision 0020.
"""
