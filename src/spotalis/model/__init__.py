"""The values that all other packages use."""
