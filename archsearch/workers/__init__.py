"""The processes that search a study."""
