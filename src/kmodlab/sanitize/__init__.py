"""The sanitizer campaign: kernels that are built to find fault, and what is done to the modules in them."""
