"""A browser in which people segment videos, and the server behind it. The contract is docs/api.md."""
