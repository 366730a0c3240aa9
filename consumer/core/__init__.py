"""The pure core: records in, rows and state out."""
