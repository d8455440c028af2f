"""The networks: what each is, its weights on disk, the names it goes by, and what it can be turned into."""
