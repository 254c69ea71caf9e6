"""Pictures decoded once, kept in files, and mapped from there by every command."""
