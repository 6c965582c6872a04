"""Vertex AI Pipelines and Kubeflow Pipelines: what is submitted, and what its containers run."""
