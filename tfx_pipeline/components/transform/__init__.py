"""Transform: TFX's own, with a faster executor."""
