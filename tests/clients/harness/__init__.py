"""Code shared by the suites: the tested server, a client of its API, test data, and the reference's answers."""
