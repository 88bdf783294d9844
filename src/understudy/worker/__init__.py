"""The other edge: claimed runs come in here."""
