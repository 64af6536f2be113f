"""Embeddings in use: exact nearest neighbours of every prefix."""
