"""One reader a format: which pictures there are and what they show; the small formats whole."""
