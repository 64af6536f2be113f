"""Code that is not ready: README.md says what it lacks."""
