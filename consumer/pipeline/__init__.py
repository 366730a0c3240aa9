"""The user's file: its schema, its expressions, what it means."""
