"""Encoders: one feature to one vector. A family's network stands on what they give."""
