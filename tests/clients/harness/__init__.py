"""Shared by the suites: the server under test, a client of its API, data, and the reference's answers."""
