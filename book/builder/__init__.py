"""Builds the book: pages from notebooks, the first page from their reports, the site by Jupyter Book."""
