"""What people made: the database, its rows as a session reads them, uploads and the data folder."""
