"""The dashboard with what its users have beside it: Debian's Prometheus and nginx, TLS, other programs."""
