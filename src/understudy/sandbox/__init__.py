"""The code interpreter's sandbox."""
