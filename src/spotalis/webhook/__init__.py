"""The admission webhook: assigns a capacity type to each new pod."""
