"""This package is what development needs: the environment of the commands, and what is recorded of a schema or a fold."""
