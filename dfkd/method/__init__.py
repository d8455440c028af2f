"""What the project is about: losses, memory, sources of images, slicing, and the loop of Algorithm 1."""
