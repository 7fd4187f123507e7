"""A run's report.html."""
