"""Stories of single modules, pure."""
