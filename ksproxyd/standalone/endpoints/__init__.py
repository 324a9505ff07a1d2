"""What the paths of the API do."""
