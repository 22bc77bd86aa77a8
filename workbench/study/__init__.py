"""Studies on a run folder, step by step: the main job, and everything that is asked of its axis afterwards."""
