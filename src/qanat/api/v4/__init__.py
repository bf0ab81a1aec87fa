"""The stock API's resources, as its clients know them (design/api.md)."""
