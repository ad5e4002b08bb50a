"""The test of the tests: bugs planted one at a time, each of which a test named beforehand must catch."""
