"""What a notebook imports: example images, outputs, timing."""
