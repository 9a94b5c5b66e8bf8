"""One small function a cause: from the evidence to headline, fix and lines, or None."""
