"""Model families: one file each, found through `registry.FAMILIES`."""
