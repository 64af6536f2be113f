"""Losses: pure functions that return one value per example."""
