"""The search for better values of the config: from a space in the config to the best trial."""
