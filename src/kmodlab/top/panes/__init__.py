"""The views of `kmodlab top`, each of which asks for what it shows, and draws it."""
