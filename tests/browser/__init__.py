"""The dashboard's page in a browser."""
