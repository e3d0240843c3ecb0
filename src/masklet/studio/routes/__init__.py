"""The REST calls and the WebSocket. docs/api.md has a heading for each of these files."""
