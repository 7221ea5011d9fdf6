"""What an analysis returns: labelled arrays, provenance, tables, files."""
