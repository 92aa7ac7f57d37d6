"""What kmodlab adds to Ansible itself."""
