"""Storage: the database, the session's store over its rows, uploads and the data folder."""
