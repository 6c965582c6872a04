"""Recommendation: the catalog of items, their tower, and the loss over a batch's own items."""
