"""Files in and out of containers: by tar there, nothing through a shell, nothing held in memory (spec 05, 5 and 6)."""
