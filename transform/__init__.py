"""Raw columns to features: the TensorFlow Transform preprocessing, driven by schema and config."""
