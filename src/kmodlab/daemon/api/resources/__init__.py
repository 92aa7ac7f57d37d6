"""What can be asked for, one class a resource; each only translates."""
