"""Numbers with intervals: how well an axis separates, and what a study may conclude."""
