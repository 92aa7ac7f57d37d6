"""Images: what guests boot from, built from an apt archive, and what modules for them are built with."""
