"""One training: a recipe and data to a trained module."""
