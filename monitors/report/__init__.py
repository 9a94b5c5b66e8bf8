"""The report: text, HTML and JSON."""
