"""What a zone's records are and which may stand together: types, forms, rules, zone files."""
