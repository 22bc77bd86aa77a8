"""A run's report: one offline page, and the sections that its steps add."""
