"""The compression ladder: from one trained float model to candidates that may be served instead."""
