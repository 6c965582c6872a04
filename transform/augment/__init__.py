"""Augmentation: random changes of transformed training batches, and of nothing else."""
