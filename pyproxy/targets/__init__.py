"""The databases behind the proxy: where they are, what they allow, and in which role they are."""
