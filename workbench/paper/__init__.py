"""A run's figures and table for a paper: which there are, how each is made, and how they become files."""
