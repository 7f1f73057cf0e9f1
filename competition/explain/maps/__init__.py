"""Where in the photo: class activation maps, attributions, their faithfulness."""
