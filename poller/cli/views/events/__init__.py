"""Log events and the calls that they become, as people see them."""
