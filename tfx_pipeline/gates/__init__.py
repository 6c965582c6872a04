"""Gates: what is measured, what is required, and the verdict that says so."""
