"""The server over HTTP: routes, schemas, problems, and the gate before them (extra `serve`)."""
