"""What a person gets of a study: tables, figure, page, dashboard."""
