"""What a run leaves behind for people: its record, listings and comparisons."""
