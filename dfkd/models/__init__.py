"""The networks: VDSR (teacher and student), a small EDSR, the generator G, the instance discriminator h."""
