"""A study: what it records and carries, where it is kept, who holds which candidate, who is told."""
