"""The keys of every stage, as pydantic classes. Imports nothing heavy."""
