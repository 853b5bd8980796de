"""Measuring: speed, learning and growth, beside the way of training of the course's starter code."""
