"""Whoever runs the graph: every runner starts from the compiled IR of one TFX pipeline."""
