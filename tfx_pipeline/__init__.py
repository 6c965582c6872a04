"""The pipeline: its config, its graph, its gates, and whoever runs it."""

from tfx_pipeline import on_demand

on_demand.install()
