"""What only the book's chapters need: figures, sliders, the scoreboard, model inversion."""
