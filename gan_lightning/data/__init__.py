"""Data sets: where images come from, how they are held, and the endless order in which they come."""
