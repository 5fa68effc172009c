"""The tests: stories, laws, one contract for every journal, crashes, whole runs, and the project itself."""
