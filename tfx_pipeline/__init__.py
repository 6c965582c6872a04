"""The pipeline: its config, its graph, its gates, and whoever runs it."""
