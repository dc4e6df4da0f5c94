"""A shop: the code that a team wants to run behind RDS Proxy."""
