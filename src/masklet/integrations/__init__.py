"""Adapters for other tools, one module for each. A module imports its tool."""
