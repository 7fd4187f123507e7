"""Commands that train nothing: doctor, demo, submit."""
