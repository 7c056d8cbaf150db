"""Places each new pod at its admission."""
