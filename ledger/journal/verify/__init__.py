"""This package is the verification of a journal: that what is recorded was not changed, and folds."""
