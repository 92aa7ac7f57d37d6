"""What the daemon answers over HTTP: `openapi.yaml` is the contract, and the routes are bound to it by operationId."""
