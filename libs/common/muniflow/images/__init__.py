"""Images: our own header parser (no numpy), decoding, encoding, and the limits of all three.

`limits`, `header` and what they import need nothing but this library; `opencv`, `decode` and `encode` need OpenCV.
"""
