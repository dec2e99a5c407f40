"""Calls between processes: one pipeline in front of every method, and channels to call it through.

A server is service descriptors plus an object with one async method per RPC (`endpoint`); what
a call must pass first is data: `permissions.txt` and the field limits in the protos.
"""
