"""What coding agents have to know of this package: one folder for each skill."""
