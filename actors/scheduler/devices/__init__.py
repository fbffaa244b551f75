"""Devices by claim: what drivers publish, what pods' claims ask for, and which devices they get. Pure.

Source: dynamic-resource-allocation `structured`, kube-scheduler's DynamicResources with v1.36's default features.
"""
