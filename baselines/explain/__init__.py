"""A trained baseline behind the protocol of the explanations."""
