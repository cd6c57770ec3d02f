"""The local stack: a private broker, the coordinator and the workers as processes of this machine (`muniflow up`)."""
