"""Beam jobs in this process: rows are streamed through the jobs' own steps, and never kept."""
