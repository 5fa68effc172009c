"""This package stages what goes wrong: kills, power loss, full disks, hostile answers and files."""
