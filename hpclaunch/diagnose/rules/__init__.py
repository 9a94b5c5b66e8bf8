"""One small function a cause: it looks at the evidence, and gives the cause or nothing."""
