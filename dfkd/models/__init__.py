"""The networks: VDSR (teacher and student), the generator G, the instance discriminator h."""
