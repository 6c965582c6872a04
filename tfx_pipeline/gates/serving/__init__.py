"""The serving gate: every candidate measured as it will be served, and one verdict on them."""
