"""Measures of labels and predictions that add up over rows: numpy only, no TensorFlow."""
