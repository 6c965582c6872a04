"""Loads a model server and measures its answers: rate, latency percentiles, errors."""
