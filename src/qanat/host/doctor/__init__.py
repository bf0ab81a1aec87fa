"""`qanat doctor`: what may keep a connector from working here, each with its fix."""
