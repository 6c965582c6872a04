"""`assay doctor`: what is missing, mismatched or slow on this machine, and what to do about it."""
