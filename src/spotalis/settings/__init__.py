"""The operator's settings: their declarations, and how they are read from file, environment, flags.

Each setting is declared once in :mod:`spotalis.settings.declarations`. The key in the file, the
environment variable, the flag, the JSON Schema and docs/reference/configuration.md follow from the
declaration. The result is plain values; the controller does not import this package.
"""
