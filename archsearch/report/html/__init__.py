"""`report.html`: a study as one file that a browser opens offline, for people."""

from archsearch.report.html.write import StudyPage, write_page

__all__ = ["StudyPage", "write_page"]
