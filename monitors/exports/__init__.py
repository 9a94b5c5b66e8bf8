"""The formats that a record is exported to."""
