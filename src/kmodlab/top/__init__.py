"""`kmodlab top`: the dashboard in a terminal, a client of the daemon's interface like the page in the browser."""
