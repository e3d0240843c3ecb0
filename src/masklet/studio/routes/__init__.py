"""The REST calls and the WebSocket, one file for each heading of docs/api.md."""
