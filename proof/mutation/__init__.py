"""Small changes to the core, made by a tool one at a time, and those of them that no test notices."""
